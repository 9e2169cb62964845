"""Keeps other processes out of a directory, by a lock file that is removed at the end."""

import contextlib
import errno
import os
import sys
import weakref
from collections.abc import Callable
from typing import TypeVar

from typing_extensions import Self

from mnist_keras.annotations import StrPath

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")
_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_MOST_TRIES = 100
# A link might name a file of the user's.
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_held: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


class LockHeldError(BlockingIOError):
    """Another process, or another lock of this one, holds the lock."""


def open_locked(path: StrPath, lock: Callable[[int], T]) -> tuple[int, T]:
    """Open a file, create it if it is not there, and lock it.

    Another process may remove the file when it releases its lock. One that has opened it in between
    locks a file that is gone, while a third one locks a new file. So what was locked is compared
    with what lies at the path.

    Args:
        path: the file; it must not be a link.
        lock: a function that locks a descriptor. Its exceptions are passed on.

    Returns:
        (the descriptor, what ``lock`` returned).

    Raises:
        LockHeldError: other processes take and release the lock all the time.
        OSError: the file cannot be opened, or is a link.
    """
    for _ in range(_MOST_TRIES):
        descriptor = os.open(path, _FLAGS, 0o666)
        is_ours = False
        try:
            result = lock(descriptor)
            with contextlib.suppress(FileNotFoundError):
                is_ours = os.path.samestat(os.fstat(descriptor), os.stat(path))
            if is_ours:
                return descriptor, result
        finally:
            if not is_ours:
                os.close(descriptor)
    raise _held_by_another()


def remove_locked(path: StrPath, descriptor: int) -> None:
    """Remove the file of a lock, unless another file lies there now, as in a replaced directory.

    Args:
        path: where the file was opened.
        descriptor: that of the open file.
    """
    with contextlib.suppress(OSError):  # Windows does not remove an open file.
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            os.unlink(path)


class FileLock:
    """Locks a file for this process, until `release` or until the process ends in any way.

    A lock that nothing refers to any more is released too.

    The file is created by `acquire` and removed by `release`, see `open_locked`. filelock before
    version 4 does not compare the files: with the removal, two processes are in. It also takes
    errors of the file system for a held lock.

    Args:
        path: the lock file, in a directory that exists.

    Attributes:
        is_supported: whether the file system has locks; known after `acquire`. Otherwise nothing is
            locked.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), ".lock")
    >>> with FileLock(path):
    ...     try:
    ...         FileLock(path).acquire()
    ...     except LockHeldError as error:
    ...         print(error.strerror)
    another process holds the lock
    >>> os.path.exists(path)
    False
    """

    is_supported = True
    _descriptor: int | None = None

    def __init__(self, path: StrPath) -> None:
        self._path = path

    @property
    def is_held(self) -> bool:
        """Whether `acquire` has been called, and `release` has not."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock; never waits.

        Raises:
            LockHeldError: another process, or another lock of this one, holds it.
            OSError: the file cannot be opened, or is a link.
        """
        self._descriptor, self.is_supported = open_locked(self._path, _lock)
        _held.add(self)

    def release(self) -> None:
        """Let other processes in; may be called twice, and without `acquire`."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self.is_supported:  # Otherwise it may be another process's too.
                remove_locked(self._path, descriptor)
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def _forget(self):
        """In a forked process: the lock stays with the parent, and ends with it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor):
    """Lock an open file; returns False if its file system has no locks."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise _held_by_another() from error
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def _held_by_another():
    return LockHeldError(errno.EAGAIN, "another process holds the lock")


def _forget_all():
    for lock in list(_held):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
