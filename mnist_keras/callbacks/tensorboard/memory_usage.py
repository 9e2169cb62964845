"""The memory usage of the process, as curves in TensorBoard."""

import functools
import os
import sys

import psutil

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback

_MIB = 2**20


class MemoryUsage(EventCallback):
    """Writes ``memory/present_mib`` and ``memory/peak_mib`` at the end of each epoch.

    Both are resident memory of this process, in MiB. The peak counts from the process's start.

    Args:
        logdir: the run's directory.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> logdir = tempfile.mkdtemp()
    >>> history = model.fit(x, y, verbose=0, callbacks=[MemoryUsage(logdir)])
    """

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        present = _process(os.getpid()).memory_info().rss / _MIB
        peak = max(present, peak_mib())
        self.log_scalars({"memory/present_mib": present, "memory/peak_mib": peak})


def peak_mib() -> float:
    """The peak resident memory of this process so far, in MiB.

    >>> peak_mib() >= 1
    True
    """
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / _MIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MIB if sys.platform == "darwin" else peak / 1024  # Linux counts in KiB.


@functools.lru_cache(maxsize=1)
def _process(pid):
    """Cached, because finding a process takes several times as long as querying it."""
    return psutil.Process(pid)
