import math

import numpy as np
import pytest

from mnist_keras.callbacks.range_test import smoothed_losses, sweep_rates
from mnist_keras.callbacks.tensorboard import sweep_picture

RATES = sweep_rates(1e-4, 1.0, steps=81)
VALLEY = [abs(math.log10(rate / 0.01)) for rate in RATES]
LEFT, RIGHT, TOP, BOTTOM = 70, 620, 36, 354  # Of the plot in the picture, which is 640 x 400.
PALE = 100  # What at least one channel of a clear blue or red has less than.


def drawn(rates, losses, *, suggested):
    smoothed = smoothed_losses(rates, losses)
    return sweep_picture.sweep_picture(rates, losses, smoothed, suggested=suggested)


def places(picture, channel):
    """(rows, columns) of the pixels in which one colour is clearly above the others."""
    pixels = np.asarray(picture).astype(int)
    others = [pixels[..., i] for i in range(3) if i != channel]
    return np.nonzero((pixels[..., channel] > np.maximum(*others) + 40) & (pixels.min(2) < PALE))


def test_the_suggested_rate_is_marked_at_its_place():
    picture = drawn(RATES, VALLEY, suggested=0.01)
    assert (picture.size, picture.mode) == ((640, 400), "RGB")
    rows, columns = places(picture, 0)
    middle = LEFT + (RIGHT - LEFT) / 2  # 0.01 is in the middle of 1e-4 and 1.
    line = columns[(rows > TOP) & (rows < BOTTOM)]
    assert abs(line.mean() - middle) < 2
    assert line.max() - line.min() < 4


def test_nothing_is_marked_without_a_suggestion():
    for suggested in (None, 1e-9):
        rows, _ = places(drawn(RATES, VALLEY, suggested=suggested), 0)
        assert len(rows) == 0


def test_the_smoothed_loss_falls_and_rises_inside_the_plot():
    rows, columns = places(drawn(RATES, VALLEY, suggested=None), 2)
    middle = LEFT + (RIGHT - LEFT) / 2
    left, low, right = (rows[np.abs(columns - x) < 4].mean() for x in (LEFT, middle, RIGHT))
    assert low > max(left, right) + 100  # Lower losses have higher rows.
    assert rows.min() >= TOP
    assert rows.max() <= BOTTOM


def test_losses_that_diverge_do_not_flatten_the_valley():
    diverging = [*VALLEY[:60], *(1e9 * rate for rate in RATES[60:])]
    rows, columns = places(drawn(RATES, diverging, suggested=None), 2)
    assert rows.max() - rows.min() > 150
    assert columns.max() < LEFT + 0.8 * (RIGHT - LEFT)


@pytest.mark.parametrize(
    "losses",
    [
        [1.0],
        [0.0] * 81,
        [-3.0] * 81,
        [1e30 * rate for rate in RATES],
        [*VALLEY[:40], math.inf],
        [1.0, math.nan],
    ],
)
def test_every_sweep_can_be_drawn(losses):
    assert drawn(RATES[: len(losses)], losses, suggested=None).size == (640, 400)
