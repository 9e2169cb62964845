import doctest
import math

import numpy as np
import pytest

from mnist_keras.callbacks import range_test
from mnist_keras.callbacks.range_test import Divergence, smoothed_losses, suggest, sweep_rates


def sweep(loss_of, *, steps=200, min_rate=1e-6, max_rate=10.0):
    """The rates, the losses, and whether the loss diverged; ``loss_of(rate)`` is called in turn."""
    rates = sweep_rates(min_rate, max_rate, steps=steps)
    divergence = Divergence(window_steps=range_test.steps_in_window(rates))
    losses = []
    for rate in rates:
        losses.append(loss_of(rate))
        if divergence.reaches(losses[-1]):
            return rates[: len(losses)], losses, True
    return rates, losses, False


def suggestion(*arguments, **options):
    rates, losses, diverged = sweep(*arguments, **options)
    return suggest(rates, losses, diverged=diverged, at_the_end="a larger max_rate")


def descent(curvatures, *, noise, generator):
    """Gradient descent on a quadratic, from 1 in each direction."""
    weights = np.ones(len(curvatures))

    def step(rate):
        nonlocal weights
        at = weights + noise * generator.normal(size=len(weights))
        weights = weights - rate * curvatures * at
        return float((curvatures * at**2).sum() / 2)

    return step


@pytest.mark.parametrize("steps", [50, 100, 200, 400])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("largest", [1.0, 100.0])
def test_the_suggested_rate_is_stable_on_quadratics(largest, noise, steps):
    curvatures = np.geomspace(largest / 1000, largest, 30)
    step = descent(curvatures, noise=noise, generator=np.random.default_rng(1))
    found = suggestion(step, steps=steps, max_rate=1e3)
    # Gradient descent is stable up to 2 / curvature.
    assert 0.1 < found.rate * largest < (0.5 if noise else 1.1)


def test_the_suggestion_hardly_depends_on_the_range_of_the_sweep():
    curvatures = np.geomspace(0.01, 10, 30)
    found = [
        suggestion(
            descent(curvatures, noise=0.05, generator=np.random.default_rng(2)),
            steps=round(25 * math.log10(max_rate / min_rate)),
            min_rate=min_rate,
            max_rate=max_rate,
        ).rate
        for min_rate in (1e-7, 1e-5, 1e-4)
        for max_rate in (10.0, 1000.0)
    ]
    assert max(found) < 2 * min(found)


@pytest.mark.parametrize("distribution", ["normal", "lognormal", "exponential"])
def test_noise_alone_gives_no_suggestion(distribution):
    generator = np.random.default_rng(0)
    draw = {
        "normal": lambda rate: 5 + generator.normal(),
        "lognormal": lambda rate: generator.lognormal(),
        "exponential": lambda rate: generator.exponential(),
    }[distribution]
    found = [suggestion(draw) for _ in range(300)]
    assert [it.rate for it in found if it.rate is not None] == []


@pytest.mark.parametrize(
    ("loss_of", "reason"),
    [
        (lambda rate: 1.0, "the loss falls at no rate of the sweep."),
        (lambda rate: 1.0 + rate, "the loss falls at no rate of the sweep."),
        (lambda rate: math.nan, "the loss diverges at once."),
        (lambda rate: 1 / (1 + rate), "the loss still falls at the end of the sweep."),
        (lambda rate: abs(math.log(rate / 6e-6)), "the loss is lowest near the beginning of the"),
    ],
)
def test_a_curve_without_a_valley_has_a_reason(loss_of, reason):
    found = suggestion(loss_of)
    assert found.rate is None
    assert found.reason.startswith(reason)
    assert " Received: " in found.reason
    assert " Expected: " in found.reason


def test_a_loss_below_zero_has_a_valley_too():
    found = suggestion(lambda rate: -5 + abs(math.log10(rate)))
    assert found.rate == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("last", [1e30, math.inf, math.nan])
def test_the_last_losses_do_not_spoil_the_suggestion(last):
    rates = sweep_rates(1e-4, 10.0, steps=101)
    losses = [2 - rate if rate < 1 else 1.0 for rate in rates]
    known = suggest(rates, losses, diverged=True, at_the_end="")
    assert suggest(rates, [*losses[:-1], last], diverged=True, at_the_end="") == known


def test_the_smoothed_losses_end_where_the_loss_diverges():
    rates = sweep_rates(1e-4, 10.0, steps=101)
    losses = [1.0] * 50 + [0.5] * 40 + [9.0] * 10 + [math.inf]
    smoothed = smoothed_losses(rates, losses)
    assert len(smoothed) == 90
    assert (smoothed.min(), smoothed.max()) == (0.5, 1.0)


def test_divergence_is_4_times_the_smallest_average():
    divergence = Divergence(window_steps=1)
    assert not any(divergence.reaches(1.0) for _ in range(50))
    assert not any(divergence.reaches(3.9) for _ in range(50))
    assert any(divergence.reaches(4.1) for _ in range(50))


def test_the_first_losses_cannot_end_the_sweep():
    divergence = Divergence(window_steps=1)
    assert not any(divergence.reaches(loss) for loss in (1e-9, *[1.0] * 20))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(range_test).failed == 0
