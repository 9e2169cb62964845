import doctest

import pytest

from mnist_keras.callbacks import NotExactError, exactness
from mnist_keras.callbacks.exactness import Exactness


def test_each_reason_is_reported_once():
    lines = []
    found = Exactness(is_required=False, tell=lines.append, notice=lines.append)
    assert found.holds
    for reason in ("no seed", "no seed", "no state"):
        found.report(reason)
    assert not found.holds
    assert lines == ["resume is not exact: no seed.", "resume is not exact: no state."]


def test_a_reason_is_an_error_where_exactness_is_required():
    lines = []
    found = Exactness(is_required=True, tell=lines.append, notice=lines.append)
    with pytest.raises(NotExactError, match="resume is not exact: no seed"):
        found.report("no seed")
    assert lines == []


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(exactness).failed == 0
