"""One EventLog for all the callbacks of one fit that write into the same directory.

Two of them would cut each other's points off, and a TensorBoard that is watching reads one growing
file of a directory at a time.
"""

import os
import weakref

from mnist_keras.callbacks.tensorboard.event_log import EventLog

_LOGS: weakref.WeakValueDictionary[str, "SharedLog"] = weakref.WeakValueDictionary()


def join(logdir):
    """The `SharedLog` of the fit that is about to begin.

    Called by each of its callbacks in ``on_train_begin``, before any of them calls `begin`. One
    that has begun is of an earlier fit, which was broken off and whose callbacks nobody closed.
    """
    path = os.path.realpath(logdir)
    log = _LOGS.get(path)
    if log is None or log.has_begun:
        log = _LOGS[path] = SharedLog(logdir)
    log.users += 1
    return log


class SharedLog:
    """An `EventLog` that is opened once and closed by the last of its users. Made by `join`.

    Attributes:
        users: how many callbacks write into it.
    """

    def __init__(self, logdir):
        self.users = 0
        self._logdir = logdir
        self._log = None

    @property
    def has_begun(self):
        """Whether the files have been opened."""
        return self._log is not None

    def begin(self, *, step):
        """Open the files, unless another user has.

        Args:
            step: where the fit begins, after a checkpoint was restored.

        Returns:
            The `EventLog`.
        """
        if self._log is None:
            self._log = EventLog(self._logdir, step=step)
        return self._log

    def leave(self):
        """Write into it no more; the last user's call closes the files.

        Raises:
            MnistKerasError: the disk does not take the last points.
        """
        self.users -= 1
        if self.users == 0 and self._log is not None:
            self._log.close()
