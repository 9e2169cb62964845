import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_keras import triggers
from mnist_keras.errors import UsageError


@given(st.integers(1, 10**6), st.integers(0, 10**9))
def test_every_is_due_only_at_multiples_of_the_interval(steps, step):
    due = triggers.every(steps)
    assert due(step * steps)
    assert due(step) == (step % steps == 0)


@pytest.mark.parametrize("steps", [0, -1, 1.0, 2.5, "100", None, [100]])
def test_an_invalid_interval_is_refused_as_received(steps):
    with pytest.raises(UsageError) as error:
        triggers.every(steps)
    assert str(error.value) == (
        f"the interval in steps is wrong. Received: {steps!r}. Expected: an integer of at least 1."
    )
    assert isinstance(error.value, ValueError)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(triggers).failed == 0
