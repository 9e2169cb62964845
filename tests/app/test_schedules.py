import doctest
import math

import keras
import pytest

from mnist_keras.app import schedules
from mnist_keras.app.config import SCHEDULES


def rates(schedule, count):
    return [float(schedule(step)) for step in range(count)]


def rise(step, warmup_steps):
    """The linear warm-up from 1/25 to 1."""
    return 1 / 25 + (1 - 1 / 25) * step / warmup_steps


def half_cosine(fraction, *, end=0.0):
    return end + (1 - end) * (1 + math.cos(math.pi * fraction)) / 2


def test_a_constant_rate_is_a_plain_number():
    assert schedules.build("constant", learning_rate=0.25, steps=7) == 0.25


def test_a_constant_rate_stays_constant_after_its_warm_up():
    schedule = schedules.build("constant", learning_rate=0.5, steps=40, warmup_steps=8)
    expected = [0.5 * rise(step, 8) for step in range(8)] + [0.5] * 42
    assert rates(schedule, 50) == pytest.approx(expected, abs=1e-7)


def test_the_cosine_falls_from_the_rate_to_zero():
    schedule = schedules.build("cosine", learning_rate=0.5, steps=40)
    expected = [0.5 * half_cosine(min(step, 40) / 40) for step in range(50)]
    assert rates(schedule, 50) == pytest.approx(expected, abs=1e-7)


def test_the_cosine_spans_the_steps_after_the_warm_up():
    schedule = schedules.build("cosine", learning_rate=0.5, steps=40, warmup_steps=8)
    expected = [0.5 * rise(step, 8) for step in range(8)]
    expected += [0.5 * half_cosine(min(step, 32) / 32) for step in range(42)]
    assert rates(schedule, 50) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("asked", "warmup_steps"), [(None, 12), (4, 4), (0, 0)])
def test_one_cycle_warms_up_for_30_percent_or_as_requested(asked, warmup_steps):
    schedule = schedules.build("one_cycle", learning_rate=0.5, steps=40, warmup_steps=asked)
    left = 40 - warmup_steps
    expected = [0.5 * rise(step, warmup_steps) for step in range(warmup_steps)]
    expected += [0.5 * half_cosine(min(step, left) / left, end=4e-6) for step in range(left + 10)]
    assert rates(schedule, 50) == pytest.approx(expected, abs=1e-7)
    assert float(schedule(40)) == pytest.approx(0.5 * 4e-6, rel=1e-2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup_steps", [None, 5])
@pytest.mark.parametrize("steps", [1, 40])
def test_every_schedule_survives_a_config_round_trip(name, warmup_steps, steps):
    warmup_steps = warmup_steps and min(warmup_steps, steps - 1)
    schedule = schedules.build(name, learning_rate=0.5, steps=steps, warmup_steps=warmup_steps)
    if isinstance(schedule, float):
        assert (name, schedule) == ("constant", 0.5)
        return
    configuration = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(configuration)
    assert rates(again, 45) == rates(schedule, 45)


def test_the_example_is_true():
    assert doctest.testmod(schedules) == (0, 2)
