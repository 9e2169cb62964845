"""Decide when something is due: pure functions ``(step) -> bool``, for logging and saving."""

import functools
from collections.abc import Callable

from mnist_keras.errors import UsageError


def every(steps: int, *, of: str = "steps") -> Callable[[int], bool]:
    """True at each multiple of ``steps``, including 0.

    Args:
        steps: the interval.
        of: the unit that is counted, for the error message.

    Raises:
        UsageError: ``steps`` is not an integer of at least 1.

    >>> due = every(100)
    >>> [step for step in range(301) if due(step)]
    [0, 100, 200, 300]
    """
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(
            f"the interval in {of} is wrong. Received: {steps!r}. "
            "Expected: an integer of at least 1."
        )
    return functools.partial(_divides, steps)  # A lambda cannot be pickled.


def _divides(steps, step):
    return step % steps == 0


def never(step: int) -> bool:
    """False at every step.

    >>> never(0)
    False
    """
    return False
