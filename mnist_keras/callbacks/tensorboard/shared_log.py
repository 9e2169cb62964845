"""One EventLog for all callbacks of a fit that write into the same directory.

Two logs would cut off each other's points. Also, a running TensorBoard reads only one growing file
per directory.
"""

import os
import weakref

from mnist_keras.callbacks.tensorboard import earlier_runs
from mnist_keras.callbacks.tensorboard.directory_lock import DirectoryLock
from mnist_keras.callbacks.tensorboard.event_log import EventLog, reported_disk_errors
from mnist_keras.checkpoint import backends, storage
from mnist_keras.console import terminal

_LOGS: weakref.WeakValueDictionary[str, "SharedLog"] = weakref.WeakValueDictionary()


def join(logdir):
    """The `SharedLog` of the fit that is about to begin.

    Each callback calls this in ``on_train_begin``, before any of them calls `begin`. So a log that
    has begun belongs to an earlier fit that failed and whose callbacks were not closed.

    Raises:
        UsageError: another program writes into the directory.
        MnistKerasError: the directory is a link that leads nowhere, or lies behind one.
    """
    with reported_disk_errors(logdir):
        storage.require_targets(logdir)
    path = os.path.realpath(logdir)
    log = _LOGS.get(path)
    if log is None or log.has_begun or log.lock.is_inherited:
        held = log.lock if log is not None and log.lock.is_held else None
        log = _LOGS[path] = SharedLog(logdir, held or DirectoryLock(logdir))
    log.users += 1
    return log


class SharedLog:
    """An `EventLog` that is opened once; its last user closes it. `join` creates it.

    Attributes:
        users: the number of callbacks that write into it.
        lock: a `DirectoryLock`.
    """

    def __init__(self, logdir, lock):
        self.users = 0
        self.lock = lock
        self._logdir = logdir
        self._path = os.path.realpath(logdir)
        self._log = None

    @property
    def has_begun(self):
        """Whether the files were opened."""
        return self._log is not None

    def begin(self, *, step, resumes=False, has_another_model=False):
        """Open the files, unless another user did.

        Args:
            step: the fit's first step, after a checkpoint was restored.
            resumes: whether it continues from a checkpoint, or would if there was one.
            has_another_model: whether the points that are there are of another model.

        Returns:
            The `EventLog`.
        """
        if self._log is None:
            with reported_disk_errors(self._logdir):
                repeats = earlier_runs.repeats(self._logdir, step=step, resumes=resumes)
            begins_anew = step == 0 or has_another_model
            self._log = EventLog(self._logdir, step=step, repeats=repeats, begins_anew=begins_anew)
            if self._log.earlier is not None:
                terminal.notice(_kept(self._log.earlier))
        return self._log

    def leave(self, *, may_be_gone=False):
        """End one callback's use; the last user's call closes the files.

        Args:
            may_be_gone: whether the directory may have been removed or moved.

        Raises:
            MnistKerasError: the last points cannot be written to the disk.
        """
        self.users -= 1
        if self.users == 0:
            try:
                if self._log is not None:
                    self._log.close(may_be_gone=may_be_gone)
            finally:
                if _LOGS.get(self._path) is self:  # Otherwise a later fit has the lock.
                    self.lock.release()


def _kept(earlier):
    return (
        f"the TensorBoard points of an earlier training, of steps {earlier.first} to "
        f"{earlier.last}, are kept in {earlier.directory}: this training does not continue it; "
        f"{backends.resumable()} would."
    )
