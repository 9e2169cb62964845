import doctest
import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.checkpoint import random_state
from mnist_keras.checkpoint.nested import put_arrays, take_arrays


class Owner:
    """Holds a generator of each kind, some in nested attributes."""

    def __init__(self):
        self.python = random.Random(1)
        self.new = np.random.default_rng(2)
        self.legacy = np.random.RandomState(3)
        self.tensorflow = tf.random.Generator.from_seed(4)
        self.keras = keras.random.SeedGenerator(5)
        self.nested = {"list": [np.random.default_rng(6)]}


def draws(owner):
    return [
        random.random(),
        np.random.normal(),
        owner.python.gauss(0, 1),
        owner.new.normal(),
        owner.legacy.normal(),
        float(owner.tensorflow.normal([])),
        int(owner.keras.next()[1]),
        owner.nested["list"][0].integers(1000),
    ]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(random_state).failed == 0


def test_every_restored_generator_repeats_its_draws():
    owner = Owner()
    owner.legacy.normal()  # It draws two normal numbers and keeps the second.
    np.random.normal()
    arrays = {}
    saved = json.loads(json.dumps(take_arrays(random_state.capture(owner), "random", arrays)))
    expected = draws(owner)
    assert draws(owner) != expected
    random_state.restore(put_arrays(saved, arrays), owner)
    assert draws(owner) == expected


@pytest.mark.parametrize("draw", [random.random, np.random.random])
def test_a_draw_changes_the_state(draw):
    before = random_state.capture()
    assert random_state.same(before, random_state.capture())
    draw()
    assert not random_state.same(before, random_state.capture())
