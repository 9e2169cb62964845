import doctest
import random

import numpy as np
import pytest
from numpy.random import default_rng

from mnist_keras.checkpoint import unseeded_calls as module
from mnist_keras.checkpoint.unseeded_calls import unseeded_calls


class Base:
    def on_epoch_begin(self):
        return random.Random()


class Rows(Base):
    def __init__(self):
        self.rng = default_rng()

    def seeded(self):
        return default_rng(1), np.random.RandomState(seed=2), self.rng.random(), random.random()

    def by_name(self):
        return default_rng().random()

    def by_module(self):
        return [np.random.RandomState() for _ in range(2)]

    def by_system(self):
        draw = lambda: random.SystemRandom().random()  # noqa: E731
        return draw()


class Child(Rows):
    pass


EXPECTED = [
    "Rows.by_name calls default_rng() without a seed",
    "Rows.by_module calls RandomState() without a seed",
    "Rows.by_system calls SystemRandom() without a seed",
]


@pytest.mark.parametrize("kind", [Rows, Child])
def test_calls_without_a_seed_are_found(kind):
    assert unseeded_calls(kind(), base=Base) == EXPECTED


def test_nothing_is_found_in_the_library():
    assert unseeded_calls(Base(), base=Base) == []


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0
