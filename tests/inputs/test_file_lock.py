import doctest
import errno
import subprocess
import sys

import pytest

from mnist_keras.inputs import file_lock
from mnist_keras.inputs.file_lock import FileLock, LockHeldError
from tests.faults import lock_stress


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(file_lock).failed == 0


def test_a_lock_file_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    first.acquire()
    lock = file_lock._lock

    def after_the_others(descriptor):
        """As if the first had ended and a third had begun since the second opened the file."""
        monkeypatch.setattr(file_lock, "_lock", lock)
        first.release()
        third.acquire()
        lock(descriptor)

    monkeypatch.setattr(file_lock, "_lock", after_the_others)
    with pytest.raises(LockHeldError):
        second.acquire()
    third.release()
    with second:
        assert second.is_held


def test_a_lock_that_nothing_refers_to_is_released(tmp_path):
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    del lock
    assert not (tmp_path / "lock").exists()
    with FileLock(tmp_path / "lock") as second:
        assert second.is_held


def test_a_release_leaves_the_lock_of_another_directory(tmp_path):
    (tmp_path / "run").mkdir()
    ours, theirs = FileLock(tmp_path / "run" / "lock"), FileLock(tmp_path / "run" / "lock")
    ours.acquire()
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").mkdir()
    theirs.acquire()
    ours.release()
    with pytest.raises(LockHeldError):
        FileLock(tmp_path / "run" / "lock").acquire()
    theirs.release()


def test_a_link_is_not_a_lock_file(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "of the user")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "lock").acquire()
    assert not (tmp_path / "of the user").exists()


def test_without_locks_in_the_file_system_everybody_is_in(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(file_lock.fcntl, "flock", refuse)
    with FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock") as second:
        assert second.is_held


def test_a_directory_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "none" / "lock").acquire()


@pytest.mark.slow
def test_of_four_processes_one_at_a_time_is_in():
    command = [sys.executable, "-m", lock_stress.__name__, "--entries=200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "entered 800 times, found another inside 0 times\n"


@pytest.mark.slow
def test_a_forked_process_does_not_keep_others_out():
    program = (
        "import os, sys, tempfile\n"
        "from mnist_keras.inputs.file_lock import FileLock\n"
        "path = os.path.join(tempfile.mkdtemp(), 'lock')\n"
        "lock, (begun, begins), (end, ends) = FileLock(path), os.pipe(), os.pipe()\n"
        "lock.acquire()\n"
        "if os.fork() == 0:\n"
        "    os.close(ends)\n"
        "    os.write(begins, b'.')\n"
        "    os.read(end, 1)\n"
        "    os._exit(0)\n"
        "os.read(begun, 1)\n"
        "os.close(lock._descriptor)\n"  # As the system does when the process is killed.
        "lock._descriptor = None\n"
        "FileLock(path).acquire()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
