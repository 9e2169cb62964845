import doctest

import pytest

from mnist_keras.inputs import deadline
from mnist_keras.inputs.deadline import Deadline, DeadlineError


def test_the_check_fails_from_the_last_second_on():
    times = iter([100.0, 100.0, 104.9, 105.0])
    limit = Deadline(5, clock=lambda: next(times))
    limit.check()
    limit.check()
    with pytest.raises(DeadlineError, match=r"^more than 5 s$"):
        limit.check()


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(deadline).failed == 0
