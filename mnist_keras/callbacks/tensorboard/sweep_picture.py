"""The loss over the learning rate of a sweep, as a picture."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mnist_keras.callbacks import range_test
from mnist_keras.callbacks.tensorboard.lettering import LINE_PIXELS, mask, write

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 36, 46  # The margins around the plot.
_FINE = 3  # The lines are drawn so much larger and then reduced, which smooths them.
_MARGIN = 0.08  # Of the range of the losses, above and below it.
_MOST_TICKS = 6
_WHITE, _INK, _GRAY, _LIGHT = (255, 255, 255), (0, 0, 0), (150, 150, 150), (225, 225, 225)
_BLUE, _RED = (33, 102, 172), (178, 24, 43)


def sweep_picture(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: npt.NDArray[np.float64],
    *,
    suggested: float | None,
) -> Image.Image:
    """Draw the loss of each step as a dot, the smoothed loss as a line, and the suggested rate.

    The axis of the rates is logarithmic. Where the loss diverges, it leaves the picture.

    Args:
        rates: the learning rate of each step, ascending.
        losses: the loss of each step; those from the first one on that is not finite are left out.
        smoothed: `mnist_keras.callbacks.range_test.smoothed_losses` of them.
        suggested: the rate to mark, or None; outside of ``rates`` it is not marked.

    Returns:
        A Pillow image in RGB.
    """
    losses = range_test.finite_part(losses)
    if suggested is not None and not rates[0] <= suggested <= rates[-1]:
        suggested = None
    low, high = _range_of(losses, smoothed)
    begin, end = (math.log10(rate) for rate in (rates[0], rates[-1]))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(rate):
        return (math.log10(rate) - begin) / max(end - begin, 1e-9) * width

    def y_of(loss):
        # Far outside a line has no direction any more, so it ends one height above the plot.
        return height * (1 - min((loss - low) / (high - low), 2.0))

    plot = Image.new("RGB", (_FINE * width, _FINE * height), _WHITE)
    pen = ImageDraw.Draw(plot)
    decades = [10.0**n for n in range(math.ceil(begin - 1e-6), math.floor(end + 1e-6) + 1)]
    levels = _levels(low, high)
    for rate in decades:
        _line(pen, [(x_of(rate), 0), (x_of(rate), height)], _LIGHT, 1)
    for level in levels:
        _line(pen, [(0, y_of(level)), (width, y_of(level))], _LIGHT, 1)
    points = [(x_of(rate), y_of(loss)) for rate, loss in zip(rates, losses, strict=False)]
    for x, y in points:
        pen.ellipse([_FINE * v for v in (x - 1.2, y - 1.2, x + 1.2, y + 1.2)], fill=_GRAY)
    line = [(x_of(rate), y_of(loss)) for rate, loss in zip(rates, smoothed, strict=False)]
    _line(pen, line, _BLUE, 2)
    if suggested is not None:
        _line(pen, [(x_of(suggested), 0), (x_of(suggested), height)], _RED, 2)
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), _WHITE)
    picture.paste(plot.resize((width, height), Image.Resampling.LANCZOS), (_LEFT, _TOP))
    ImageDraw.Draw(picture).rectangle(
        (_LEFT - 1, _TOP - 1, _LEFT + width, _TOP + height), outline=_GRAY
    )
    for rate in _thinned(decades):
        place = (_LEFT + x_of(rate), _TOP + height + 4)
        write(picture, place, f"{rate:g}", _INK, anchor=(0.5, 0))
    for level in levels:
        write(picture, (_LEFT - 6, _TOP + y_of(level)), f"{level:.4g}", _INK, anchor=(1, 0.5))
    write(picture, (_LEFT, 10), "loss of each step, and smoothed", _INK)
    foot = (_LEFT + width / 2, _HEIGHT - LINE_PIXELS - 4)
    write(picture, foot, "learning rate", _INK, anchor=(0.5, 0))
    if suggested is not None:
        text = f"suggested: {suggested:.2g}"
        x = min(max(_LEFT + x_of(suggested), _LEFT), _WIDTH - _RIGHT - mask(text).width / 2)
        write(picture, (x, _TOP - LINE_PIXELS - 3), text, _RED, anchor=(0.5, 0))
    return picture


def _range_of(losses, smoothed):
    """The lowest and the highest loss on the picture: those before the loss diverges."""
    before = losses[: int(np.argmin(smoothed)) + 1]
    low, high = min(losses), max(before)
    if len(before) < len(losses) / 4:  # The loss falls nowhere.
        high = float(np.percentile(losses, 90))
    margin = _MARGIN * (high - low) or max(abs(low), 1.0)
    return low - margin, high + 2 * margin


def _levels(low, high):
    """Round numbers between two losses, at most `_MOST_TICKS`."""
    step = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
    step *= next(
        factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _MOST_TICKS
    )
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def _thinned(decades):
    """At most 12 of the decades, evenly spaced."""
    return decades[:: -(-len(decades) // 12) or 1]


def _line(pen, points, colour, width):
    scaled = [(_FINE * x, _FINE * y) for x, y in points]
    pen.line(scaled, fill=colour, width=_FINE * width, joint="curve")
