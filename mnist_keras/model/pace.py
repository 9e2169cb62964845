"""How many steps to run before the callbacks are called again."""

import contextlib
import time


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
    >>> with pace.measure(steps=1):
    ...     pass
    >>> pace.steps
    4
    """

    def __init__(self, seconds=0.5, *, clock=time.perf_counter):
        self.steps = 1  # The first step's duration is unknown and includes its tracing.
        self._seconds = seconds
        self._clock = clock

    @contextlib.contextmanager
    def measure(self, *, steps):
        """Measure how long steps take; use it while they run.

        Args:
            steps: how many steps run.
        """
        began = self._clock()
        yield
        per_step = max(self._clock() - began, 1e-6) / steps
        self.steps = max(1, int(self._seconds / per_step))
