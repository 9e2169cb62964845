import doctest
import importlib.util

import pytest

from mnist_keras.console import extras
from mnist_keras.errors import UsageError


def test_a_package_that_is_installed_is_accepted():
    extras.require("keras", needed_by="a test")


def test_a_directory_of_that_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("no_such_package") is not None
    with pytest.raises(UsageError, match="a test needs a package"):
        extras.require("no_such_package", needed_by="a test")


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(extras).failed == 0
