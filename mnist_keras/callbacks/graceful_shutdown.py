"""Ends training after SIGTERM, SIGINT or SIGHUP, at the next batch boundary, after a checkpoint."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.checkpoint import backends
from mnist_keras.console import exit_signals
from mnist_keras.errors import Interrupted

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class GracefulShutdown(StepCallback):
    """Raises `Interrupted` at the first batch boundary after a signal.

    A `Checkpoint` of the same fit saves there first. A signal to one worker ends all workers at
    the same boundary. The handler only sets a flag. Signals within a second of the first count as
    one, because schedulers send them in bursts. A later one ends the process at once, as without
    this callback. A signal that the process ignores, as SIGHUP under ``nohup``, stays ignored. The
    previous handlers are restored when training ends. Outside the main thread Python does not allow
    handlers, so this callback does nothing there.

    Args:
        signals: the signal numbers to handle; SIGHUP only where the system has it.
        clock: returns the time in seconds.

    Raises:
        Interrupted: raised from ``fit`` after a signal.

    Example:

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> shutdown = GracefulShutdown()
    >>> history = model.fit(np.zeros((2, 3)), np.ones((2, 1)), verbose=0, callbacks=[shutdown])
    """

    priority = 2

    def __init__(
        self,
        signals: Sequence[int] = _SIGNALS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._signals = signals
        self._clock = clock
        self._former: dict[int, Any] = {}
        self._received: int | None = None
        self._received_at_s = 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        if self._former:
            return
        self._received, self._received_at_s = exit_signals.received() or None, self._clock()
        if threading.current_thread() is threading.main_thread():
            handled = [s for s in self._signals if not exit_signals.is_ignored(s)]
            self._former = {s: signal.signal(s, self._handle) for s in handled}

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        self._stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._stop_if_asked()

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        # A signal after the last boundary needs no save: the end of training has saved already.
        if self.agreed_request():
            raise _interrupted(self.agreed_request())

    def local_request(self) -> int:
        """The number of the signal that was received, or 0."""
        return self._received or 0

    def close(self) -> None:
        """Restore the previous handlers."""
        for signum, handler in self._former.items():
            signal.signal(signum, handler)
        self._former = {}

    def _handle(self, signum, frame):
        if self._received is None:
            self._received, self._received_at_s = signum, self._clock()
            exit_signals.note_handled()
        elif self._clock() - self._received_at_s >= exit_signals.BURST_S:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

    def _stop_if_asked(self):
        signum = self.agreed_request()
        if not signum:
            return
        try:
            for peer in self.peers:
                peer.save_now(self.position)
        finally:
            self.close()
        raise _interrupted(signum)


def _interrupted(signum):
    return Interrupted(signum, resumable=backends.resumable())
