import doctest
import errno
import pathlib
import tempfile

import pytest

from mnist_keras.checkpoint import scratch, storage
from mnist_keras.checkpoint.scratch import scratch_directory


@pytest.fixture
def no_temporary_directory(monkeypatch):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", none)


def test_a_scratch_directory_lies_in_the_systems(tmp_path):
    with scratch_directory(tmp_path / "model.keras") as directory:
        assert directory.parent == pathlib.Path(tempfile.gettempdir())
    assert not directory.exists()


def test_without_the_systems_it_lies_beside_a_path(no_temporary_directory, tmp_path):
    with scratch_directory(tmp_path / "run" / "model.keras") as directory:
        assert directory.parent == tmp_path / "run"
        with tempfile.TemporaryDirectory() as of_others:
            assert pathlib.Path(of_others).parent == directory
    assert list((tmp_path / "run").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        tempfile.gettempdir()


def test_a_killed_process_leaves_one_that_is_removed_later(no_temporary_directory, tmp_path):
    with scratch_directory(tmp_path / "model.keras") as directory:
        storage.remove_leftovers(tmp_path)
        assert not directory.exists()


def test_the_example_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(scratch).failed == 0
