"""Keeps two programs from writing the event files of one directory."""

import contextlib
import os
import pathlib
import socket

from mnist_keras.checkpoint import storage
from mnist_keras.errors import UsageError
from mnist_keras.inputs.file_lock import open_locked, remove_locked

try:
    import fcntl
except ImportError:  # Windows: it refuses to move or cut a file that another program has open.
    fcntl = None  # type: ignore[assignment]

_NAME = ".tensorboard.lock"


class DirectoryLock:
    """Locks a directory for this process, until `release` or until the process ends in any way.

    A second program is refused; it does not write beside the first one. Two programs with the same
    directory are nearly always a mistake, such as a default that both have. An error before the
    first step costs nothing. Curves in a directory such as ``train-2`` would: nobody knows which
    program they belong to, and neither does that program when it resumes. Both would also save
    their checkpoints in one directory.

    The lock is one of POSIX: a process that a program starts without Python's knowledge, such as a
    loader of data, does not inherit it and keep others out when it outlives the program.

    The price: a POSIX lock belongs to the process, which is not refused a second one, so
    `shared_log` makes only one per directory. And the process loses the lock as soon as it closes
    any descriptor of the lock file, such as that of code which copies the directory.

    Where there are no locks, where the directory cannot be written and where the lock file is a
    link, nothing is locked.

    Args:
        directory: it is created if it does not exist.

    Raises:
        UsageError: another process has locked it.
    """

    def __init__(self, directory):
        self._directory = directory
        self._path = pathlib.Path(os.path.realpath(directory), _NAME)
        self._pid = os.getpid()
        self._file = None if fcntl is None else self._locked_file()

    @property
    def is_inherited(self):
        """Whether this process was forked from the one that made the lock, which alone holds it."""
        return self._pid != os.getpid()

    @property
    def is_held(self):
        """Whether this process holds the lock."""
        return self._file is not None and not self.is_inherited

    def release(self):
        """Let other processes in; may be called twice."""
        file, self._file = self._file, None
        if file is None:
            return
        with file:
            if not self.is_inherited:
                remove_locked(self._path, file.fileno())

    def _locked_file(self):
        try:
            storage.make_directories(self._path.parent)
            descriptor, _ = open_locked(self._path, self._lock)
        except OSError:
            return None
        file = os.fdopen(descriptor, "r+b", buffering=0)
        self._sign(file)
        return file

    def _lock(self, descriptor):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows either for a held lock.
            raise self._held_by(os.read(descriptor, 200)) from None

    def _sign(self, file):
        with contextlib.suppress(OSError):  # On a full disk the lock holds, without a name.
            file.truncate(0)
            file.write(f"process {self._pid} on {socket.gethostname()}".encode())

    def _held_by(self, signature):
        holder = signature.decode(errors="replace") or "another process"
        return UsageError(
            f"another program is writing TensorBoard files there. Received: {self._directory}, "
            f"which {holder} has open. Expected: a directory of its own for each program."
        )
