import doctest

import pytest

from mnist_keras.model import pace
from mnist_keras.model.pace import Pace


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(pace).failed == 0


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"),
    [(1, 0.25, 4), (100, 0.25, 400), (8, 2.0, 4), (1, 30.0, 1), (5, 0.0, 500_000 * 10)],
)
def test_the_number_of_steps_meets_the_target_time(steps, seconds, expected):
    times = iter([7.0, 7.0 + seconds])
    measured = Pace(1.0, clock=lambda: next(times))
    assert measured.timed(lambda: (steps, "logs")) == (steps, "logs")
    assert measured.steps == expected


def test_a_call_that_runs_no_step_is_not_measured():
    times = iter([0.0, 1.0, 1.0, 1.001])
    measured = Pace(3.0, clock=lambda: next(times))
    measured.timed(lambda: (2, None))
    measured.timed(lambda: (0, None))
    assert measured.steps == 6


def test_it_starts_with_one_step():
    assert Pace().steps == 1
