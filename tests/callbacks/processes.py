"""Processes that lock a directory, or try to."""

import contextlib
import os
import signal

from mnist_keras.callbacks.tensorboard.directory_lock import DirectoryLock
from mnist_keras.errors import UsageError

LOCKS = []


def lock(directory):
    """Whether this process could lock a directory, until it ends."""
    LOCKS.append(DirectoryLock(directory))
    return LOCKS[-1].is_held


@contextlib.contextmanager
def process(task):
    """A forked process that does a task; yields (its id, what the task returned)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.write(writing, str(task()).encode())
            signal.pause()
        os._exit(1)
    os.close(writing)
    try:
        yield pid, os.read(reading, 1000).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)


def can_lock(directory):
    """Whether another process can lock a directory: "True", or the error."""

    def attempt():
        try:
            return DirectoryLock(directory).is_held
        except UsageError as error:
            return error

    with process(attempt) as (_, answer):
        return answer
