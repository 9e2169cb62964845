"""Measures the training time over all sessions of a training."""

import time
from collections.abc import Callable

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback


class Stopwatch(StepCallback):
    """Adds up the seconds since the first batch, including the time before an interruption.

    Validation and checkpoints count. The start of TensorFlow and the time between two sessions do
    not count.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self._clock = clock
        self._seconds_before = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        now = self._began if self._began is None else self._clock() - self._began
        return self._seconds_before + (now or 0.0)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self._began is None:
            self._began = self._clock()

    def state_dict(self) -> dict[str, float]:
        """{"seconds": seconds of training so far}."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from the saved number of seconds."""
        self._seconds_before = state["seconds"]

    def close(self) -> None:
        """Stop the clock; ``seconds`` keeps its value."""
        self._seconds_before, self._began = self.seconds, None
