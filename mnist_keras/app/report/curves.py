"""A chart of curves for SVG; the page sets the colours."""

import dataclasses
import math

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 32
_MOST_POINTS = 600


@dataclasses.dataclass(frozen=True)
class Chart:
    """The lines and the axis marks that the page draws.

    Attributes:
        title: what the curves show.
        lines: (name, "x,y x,y ..." in the chart's units) of each curve.
        x_ticks, y_ticks: (position, text) of each mark.
    """

    title: str
    lines: list
    x_ticks: list
    y_ticks: list


def chart(title, curves):
    """Scale curves to a chart.

    Args:
        title: what the curves show.
        curves: {name: [(step, value), ...]}, in ascending steps. Values that are not finite are
            left out. A curve with very many points is thinned.

    Returns:
        A `Chart`; None if there are no points.

    Example:

    >>> chart("loss", {"train": [(0, 2.0), (10, 1.0)]}).lines
    [('train', '64.0,12.0 628.0,228.0')]
    """
    curves = {
        name: [(step, value) for step, value in points if math.isfinite(value)]
        for name, points in curves.items()
    }
    curves = {name: _thinned(points) for name, points in curves.items() if points}
    if not curves:
        return None
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    x_of = _scale(min(steps), max(steps), _LEFT, WIDTH - _RIGHT)
    y_of = _scale(min(values), max(values), HEIGHT - _BOTTOM, _TOP)
    return Chart(
        title,
        [
            (name, " ".join(f"{x_of(step):.1f},{y_of(value):.1f}" for step, value in points))
            for name, points in curves.items()
        ],
        [(round(x_of(tick), 1), f"{tick:,.0f}") for tick in ticks(min(steps), max(steps))],
        [(round(y_of(tick), 1), f"{tick:.4g}") for tick in ticks(min(values), max(values))],
    )


def ticks(least, greatest, *, about=4):
    """Round numbers from ``least`` to ``greatest``, inclusive.

    >>> ticks(0, 8900)
    [0, 2000, 4000, 6000, 8000]
    """
    if greatest <= least:
        return [least]
    rough = (greatest - least) / about
    power = 10 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough)) * power
    first, last = math.ceil(least / step), math.floor(greatest / step)
    return [number * step for number in range(first, last + 1)]


def _thinned(points):
    stride = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:stride], points[-1]]


def _scale(least, greatest, first, last):
    span = (greatest - least) or 1.0
    return lambda value: first + (value - least) / span * (last - first)
