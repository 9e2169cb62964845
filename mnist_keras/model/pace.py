"""How many steps to run before the callbacks are called again."""

import contextlib
import time


class Pace:
    """As many steps as take about half a second, by how long the last ones took.

    So a signal, a progress display or a deadline is heeded soon, however slow the steps are.

    Args:
        seconds: what to aim at.
        clock: the time in seconds.

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
        self.steps = 1  # Before the first one nothing is known, and it is traced as well.
        self._seconds = seconds
        self._clock = clock

    @contextlib.contextmanager
    def measure(self, *, steps):
        """While these steps run."""
        began = self._clock()
        yield
        per_step = max(self._clock() - began, 1e-6) / steps
        self.steps = max(1, int(self._seconds / per_step))
