"""When something is due: pure functions ``(step) -> bool``, for logging and saving alike."""

import functools
from collections.abc import Callable

from mnist_keras.errors import UsageError


def every(steps: int, *, of: str = "steps") -> Callable[[int], bool]:
    """True at each multiple of ``steps``, 0 among them.

    Args:
        steps: how many.
        of: what is counted, for the error's message.

    Raises:
        UsageError: ``steps`` is no whole number of at least 1.

    >>> due = every(100)
    >>> [step for step in range(301) if due(step)]
    [0, 100, 200, 300]
    """
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(
            f"no interval of {of}. Received: {steps!r}. Expected: a whole number of at least 1."
        )
    return functools.partial(_divides, steps)  # A lambda could not be pickled.


def _divides(steps, step):
    return step % steps == 0


def never(step: int) -> bool:
    """False at every step.

    >>> never(0)
    False
    """
    return False
