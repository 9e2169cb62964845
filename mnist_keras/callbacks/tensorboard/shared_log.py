"""One EventLog for all callbacks of a fit that write into the same directory.

Two logs would cut off each other's points. Also, a running TensorBoard reads only one growing file
per directory.
"""

import os
import weakref

from mnist_keras.callbacks.tensorboard.event_log import EventLog

_LOGS: weakref.WeakValueDictionary[str, "SharedLog"] = weakref.WeakValueDictionary()


def join(logdir):
    """The `SharedLog` of the fit that is about to begin.

    Each callback calls this in ``on_train_begin``, before any of them calls `begin`. So a log that
    has begun belongs to an earlier fit that failed and whose callbacks were not closed.
    """
    path = os.path.realpath(logdir)
    log = _LOGS.get(path)
    if log is None or log.has_begun:
        log = _LOGS[path] = SharedLog(logdir)
    log.users += 1
    return log


class SharedLog:
    """An `EventLog` that is opened once; its last user closes it. `join` creates it.

    Attributes:
        users: the number of callbacks that write into it.
    """

    def __init__(self, logdir):
        self.users = 0
        self._logdir = logdir
        self._log = None

    @property
    def has_begun(self):
        """Whether the files were opened."""
        return self._log is not None

    def begin(self, *, step):
        """Open the files, unless another user did.

        Args:
            step: the fit's first step, after a checkpoint was restored.

        Returns:
            The `EventLog`.
        """
        if self._log is None:
            self._log = EventLog(self._logdir, step=step)
        return self._log

    def leave(self):
        """End one callback's use; the last user's call closes the files.

        Raises:
            MnistKerasError: the last points cannot be written to the disk.
        """
        self.users -= 1
        if self.users == 0 and self._log is not None:
            self._log.close()
