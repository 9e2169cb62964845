import doctest
import math

import pytest

from mnist_keras import schedules
from mnist_keras.config import SCHEDULES


def test_a_constant_rate_is_the_number_itself():
    assert schedules.build("constant", learning_rate=0.25, steps=7) == 0.25


def test_the_cosine_goes_from_the_rate_to_zero_over_all_steps():
    schedule = schedules.build("cosine", learning_rate=0.5, steps=40)
    rates = [float(schedule(step)) for step in range(50)]
    expected = [0.25 * (1 + math.cos(math.pi * min(step, 40) / 40)) for step in range(50)]
    assert rates == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_that_the_command_line_offers_can_be_built(name):
    assert schedules.build(name, learning_rate=0.5, steps=40)


def test_the_example_is_true():
    assert doctest.testmod(schedules) == (0, 2)
