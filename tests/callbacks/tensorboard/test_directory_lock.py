import errno
import fcntl
import os
import signal
import socket

import pytest

from mnist_keras.callbacks.tensorboard import directory_lock
from mnist_keras.callbacks.tensorboard.directory_lock import DirectoryLock
from mnist_keras.errors import UsageError
from tests.callbacks.processes import can_lock, lock, process


def test_a_second_process_is_refused_until_the_first_releases(tmp_path):
    mine = DirectoryLock(tmp_path)
    assert can_lock(tmp_path) == (
        f"another program is writing TensorBoard files there. Received: {tmp_path}, which process "
        f"{os.getpid()} on {socket.gethostname()} has open. Expected: a directory of its own for "
        "each program."
    )
    mine.release()
    mine.release()
    assert list(tmp_path.iterdir()) == []
    assert can_lock(tmp_path) == "True"


def test_a_killed_process_locks_nothing(tmp_path):
    with process(lambda: lock(tmp_path)) as (_, is_held):
        assert is_held == "True"
        with pytest.raises(UsageError):
            DirectoryLock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".tensorboard.lock"]
    mine = DirectoryLock(tmp_path)
    assert mine.is_held
    mine.release()


def test_a_worker_that_outlives_its_program_locks_nothing(tmp_path):
    def lock_and_fork():
        assert lock(tmp_path)
        worker = os.fork()
        if worker == 0:
            signal.pause()
        return worker

    with process(lock_and_fork) as (_, worker), pytest.raises(UsageError):
        DirectoryLock(tmp_path)
    try:
        mine = DirectoryLock(tmp_path)
    finally:
        os.kill(int(worker), signal.SIGKILL)  # It raises if the worker is not alive.
    assert mine.is_held
    mine.release()


def test_a_forked_process_does_not_release_its_parents_lock(tmp_path):
    mine = DirectoryLock(tmp_path)

    def release():
        is_held = mine.is_held
        mine.release()
        return is_held

    with process(release) as (_, is_held):
        assert is_held == "False"
        assert "another program" in can_lock(tmp_path)
    mine.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_disk_without_locks_stops_nobody(number, tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    mine = DirectoryLock(tmp_path)
    assert not mine.is_held
    mine.release()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_directory_that_cannot_be_written_is_not_locked(number, tmp_path, monkeypatch):
    def refuse(*arguments, **more):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert not DirectoryLock(tmp_path).is_held


def test_a_system_without_fcntl_locks_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(directory_lock, "fcntl", None)
    assert not DirectoryLock(tmp_path).is_held
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_meanwhile_locks_nothing(tmp_path, monkeypatch):
    lockf, removals = fcntl.lockf, [True]

    def lock_after_removal(file, flags):
        if removals:
            removals.pop()
            (tmp_path / ".tensorboard.lock").unlink()
        lockf(file, flags)

    monkeypatch.setattr(fcntl, "lockf", lock_after_removal)
    mine = DirectoryLock(tmp_path)
    assert mine.is_held
    assert "another program" in can_lock(tmp_path)
    mine.release()


def test_a_linked_lock_file_keeps_its_target(tmp_path):
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / ".tensorboard.lock").symlink_to(tmp_path / "theirs")
    assert not DirectoryLock(tmp_path).is_held
    assert (tmp_path / "theirs").read_text() == "precious"
