"""How many steps to run before the callbacks are called again."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MOST_STEPS = 100  # in one execution, chosen by "auto"


class Pace:
    """Chooses how many steps take about half a second, from how long the last ones took.

    So a signal, a progress display or a deadline never waits much longer than that.

    Args:
        seconds: the duration to aim at.
        clock: a function that returns the time in seconds.

    Attributes:
        steps: how many to run next.

    Example:

    >>> now = iter([0.0, 0.125])
    >>> pace = Pace(clock=lambda: next(now))
    >>> pace.timed(lambda: (1, "logs"))
    (1, 'logs')
    >>> pace.steps
    4
    """

    def __init__(self, seconds=0.5, *, clock=time.perf_counter):
        self.steps = 1  # The first step's duration is unknown and includes its tracing.
        self._seconds = seconds
        self._clock = clock

    def timed(self, run: Callable[[], tuple[int, T]]) -> tuple[int, T]:
        """Call a function and measure how long its steps take.

        Args:
            run: returns (number of steps run, result). If none was run, nothing is measured.
        """
        began = self._clock()
        ran, result = run()
        if ran:
            per_step = max(self._clock() - began, 1e-6) / ran
            self.steps = max(1, int(self._seconds / per_step))
        return ran, result
