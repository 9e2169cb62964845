"""The learning-rate range test in numbers: its rates, its end and the rate that it suggests.

Sources: Smith, Cyclical Learning Rates for Training Neural Networks, 2015,
https://arxiv.org/abs/1506.01186, section 3.3; fastai's ``lr_find``,
https://docs.fast.ai/callback.schedule.html.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_DIVERGED_FACTOR = 4.0  # Of the smallest smoothed loss, as in fastai and Lightning.
_BELOW_LOWEST = 10.0  # As in fastai's "minimum".
_WINDOW_DECADES = 0.25  # Half the width of the window that smooths, a ratio of rates of 1.8.
_LEAST_STEPS = 10  # Fewer say nothing, and a first loss may be far from the mean.
# Standard deviations of a smoothed loss; noise alone reached 6 once in 3,000 sweeps.
_LEAST_FALL = 7.0
_LEAST_RELATIVE_FALL = 1e-4  # Rounding alone stays below it.


class Suggestion(NamedTuple):
    """What a sweep suggests.

    Attributes:
        rate: the learning rate, or None.
        reason: why there is none, as an error says it; "" if there is one.
    """

    rate: float | None
    reason: str = ""


def sweep_rates(min_rate: float, max_rate: float, *, steps: int) -> list[float]:
    """The learning rate of each step, rising by the same factor from step to step.

    >>> sweep_rates(0.25, 4.0, steps=5)
    [0.25, 0.5, 1.0, 2.0, 4.0]
    """
    # In float32, as the optimizer has them.
    return np.geomspace(min_rate, max_rate, steps).astype(np.float32).tolist()


def steps_in_window(rates: Sequence[float]) -> int:
    """Half the width of the window that smooths a sweep, in steps, at least 1."""
    if len(rates) < 2:
        return 1
    steps_per_decade = (len(rates) - 1) / math.log10(rates[-1] / rates[0])
    return max(1, round(_WINDOW_DECADES * steps_per_decade))


class Divergence:
    """Detects when the loss of a sweep diverges.

    It diverges if it is not finite, or if its moving average exceeds 4 times its smallest value.
    For a loss below 0 that is 3 times its magnitude above its smallest value.

    Args:
        window_steps: the time constant of the moving average.

    Example:

    >>> divergence = Divergence(window_steps=1)
    >>> [divergence.reaches(loss) for loss in [2.0] * 10 + [1.0, 1.0, 9.0]]
    [False, False, False, False, False, False, False, False, False, False, False, False, True]
    """

    def __init__(self, *, window_steps: int) -> None:
        self._decay = math.exp(-1 / window_steps)
        self._sum = self._weight = 0.0
        self._smallest = math.inf
        self._steps = 0

    def reaches(self, loss: float) -> bool:
        """Whether the loss of the next step shows that the training diverges."""
        if not math.isfinite(loss):
            return True
        self._steps += 1
        self._sum = self._decay * self._sum + (1 - self._decay) * loss
        self._weight = self._decay * self._weight + (1 - self._decay)
        average = self._sum / self._weight
        if self._steps < _LEAST_STEPS:
            return False
        self._smallest = min(self._smallest, average)
        return average > self._smallest + (_DIVERGED_FACTOR - 1) * abs(self._smallest)


def smooth(losses: Sequence[float], *, window_steps: int) -> npt.NDArray[np.float64]:
    """The weighted mean of the losses around each step, by a Hann window.

    Unlike a moving average it looks to both sides, so that it does not shift the curve to higher
    rates.

    Args:
        losses: finite, one per step.
        window_steps: half the width of the window.

    >>> smooth([0.0, 0.0, 4.0, 0.0, 0.0], window_steps=1).tolist()
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    window = _window(window_steps)
    weights = np.convolve(np.ones(len(losses)), window)[window_steps : window_steps + len(losses)]
    sums = np.convolve(losses, window)[window_steps : window_steps + len(losses)]
    return sums / weights


def finite_part(losses: Sequence[float]) -> list[float]:
    """The losses before the first one that is not finite."""
    broken = (step for step, loss in enumerate(losses) if not math.isfinite(loss))
    return list(losses[: next(broken, len(losses))])


def smoothed_losses(rates: Sequence[float], losses: Sequence[float]) -> npt.NDArray[np.float64]:
    """The smoothed losses of a sweep, up to the step at which the loss diverges.

    That is the first of the last steps that all have a higher loss than any step up to the lowest
    loss. Their losses may be so high that they would spoil the means before them.

    Args:
        rates: the learning rate of each step.
        losses: the loss of each step; those from the first one on that is not finite are left out.
    """
    losses, window_steps = finite_part(losses), steps_in_window(rates)
    if not losses:
        return np.empty(0)
    least = max(int(np.argmin(losses)), 2 * window_steps) + 1
    highest, end = max(losses[:least]), len(losses)
    while end > least and losses[end - 1] > highest:
        end -= 1
    return smooth(losses[:end], window_steps=window_steps)


def suggest(
    rates: Sequence[float], losses: Sequence[float], *, diverged: bool, at_the_end: str
) -> Suggestion:
    """The rate that a sweep suggests: a tenth of the rate at which the smoothed loss is lowest.

    At that rate the loss stops falling, and soon it diverges. On a parabola it is the largest
    stable rate, 2 divided by the curvature; on a quadratic of many dimensions it may be a few times
    that, because the steepest direction needs steps to diverge. A tenth of it is stable, and leaves
    room for a curvature that rises during the training. There is no suggestion if the loss falls no
    deeper than its noise reaches, or if the lowest loss is at an end of the sweep.

    Source: the suggestion ``minimum`` of fastai's ``lr_find``,
    https://docs.fast.ai/callback.schedule.html. Its ``valley`` depends on where the sweep begins,
    and its ``steep``, which is Lightning's rule too, on how many steps the sweep has.

    Args:
        rates: the learning rate of each step.
        losses: the loss of each step; the last one may be not finite.
        diverged: whether the sweep ended because the loss diverged.
        at_the_end: what is expected if the loss still falls in the last step.

    Example: a parabola whose lowest point is at a rate of 1.

    >>> rates = sweep_rates(0.001, 100.0, steps=101)
    >>> losses = [abs(math.log10(rate)) ** 2 for rate in rates]
    >>> round(suggest(rates, losses, diverged=True, at_the_end="").rate, 3)
    0.1
    """
    losses = finite_part(losses)
    window_steps = steps_in_window(rates)
    if len(losses) < _LEAST_STEPS:
        expected = f"a min_rate below {rates[0]:.3g}" if diverged else at_the_end
        return Suggestion(
            None,
            f"{'the loss diverges at once' if diverged else 'the sweep is too short'}. "
            f"Received: {len(losses)} finite losses. Expected: {expected}.",
        )
    smoothed = smoothed_losses(rates, losses)
    lowest = int(np.argmin(smoothed))
    width = 2 * window_steps + 1
    start = float(np.mean(losses[:width]))
    fall = start - smoothed[lowest]
    steady = min(max(lowest, width) + 1, len(smoothed))  # Beyond it the loss is less steady.
    noise = _noise(losses[:steady], smoothed[:steady], window_steps)
    if fall <= max(_LEAST_FALL * noise, _LEAST_RELATIVE_FALL * abs(start)):
        return Suggestion(
            None,
            "the loss falls at no rate of the sweep. Received: a lowest smoothed loss of "
            f"{smoothed[lowest]:.4g} after {start:.4g} at the beginning. Expected: a loss that "
            f"falls by more than its noise, or a min_rate below {rates[0]:.3g}.",
        )
    if not diverged and lowest >= len(losses) - 1 - window_steps:
        return Suggestion(
            None,
            f"the loss still falls at the end of the sweep. Received: a rate of {rates[-1]:.3g} "
            f"there. Expected: {at_the_end}.",
        )
    rate = rates[lowest] / _BELOW_LOWEST
    if rate < rates[0]:
        return Suggestion(
            None,
            "the loss is lowest near the beginning of the sweep. Received: its lowest value at a "
            f"rate of {rates[lowest]:.3g}. Expected: a min_rate below {rate:.3g}.",
        )
    return Suggestion(rate)


def _window(window_steps):
    return np.hanning(2 * window_steps + 3)[1:-1]


def _noise(losses, smoothed, window_steps):
    """The standard deviation of smoothed losses, from the distances of the losses to them."""
    window = _window(window_steps)
    return np.std(losses - smoothed) * math.sqrt((window**2).sum()) / window.sum()
