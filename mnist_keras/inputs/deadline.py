"""The time that may be spent on something of unknown size."""

import math
import time
from collections.abc import Callable


class DeadlineError(Exception):
    """The time is over, or the result is no longer needed.

    >>> Deadline(0).check()
    Traceback (most recent call last):
    mnist_keras.inputs.deadline.DeadlineError: more than 0 s
    """


class Deadline:
    """The end of some work, which calls `check` again and again.

    Args:
        seconds: from now on; by default without an end.
        clock: a function that returns the time in seconds.

    Example:

    >>> deadline = Deadline(60)
    >>> deadline.check()
    >>> deadline.cancel()
    >>> deadline.check()
    Traceback (most recent call last):
    mnist_keras.inputs.deadline.DeadlineError: cancelled
    """

    def __init__(
        self, seconds: float = math.inf, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock() + seconds
        self._is_cancelled = False

    def cancel(self) -> None:
        """Let the next `check` raise an error; from any thread."""
        self._is_cancelled = True

    def check(self) -> None:
        """Raise a DeadlineError if the time is over or the work was cancelled."""
        if self._is_cancelled:
            raise DeadlineError("cancelled")
        if self._clock() >= self._end:
            raise DeadlineError(f"more than {self._seconds:g} s")
