"""How long a training took, over all its sessions."""

import time
from collections.abc import Callable

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback


class Stopwatch(StepCallback):
    """Adds up the seconds from the first batch on, those before an interruption too.

    Validation and checkpoints count, starting TensorFlow and the time between two sessions do not.

    Args:
        clock: the time in seconds.
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
        """{"seconds": so far}."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self._seconds_before = state["seconds"]

    def close(self) -> None:
        """Stop."""
        self._seconds_before, self._began = self.seconds, None
