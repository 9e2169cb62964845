"""The comparison of two trainings includes every variable and every bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.faults.leavings import differences, variables_of


class Holder:
    """A plain object of the program."""

    def __init__(self, variable):
        self.variable = variable


class Everywhere(keras.Model):
    """Holds variables in every kind of place."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.drop = keras.layers.Dropout(0.5, seed=1)
        self.optimizers = {"slow": keras.optimizers.SGD(0.5, momentum=0.9)}
        self.queue = [tf.Variable([1.0, 2.0])]
        self.source = tf.random.Generator.from_seed(3)
        self.holder = Holder(keras.Variable(7.0))
        self.seen = keras.metrics.Sum(name="seen")
        self(tf.zeros((1, 2)))
        self.optimizers["slow"].build(self.trainable_variables)

    def call(self, x, training=False):
        return self.drop(self.dense(x), training=training)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return Everywhere()


CHANGES = {
    "kernel": lambda model: model.dense.kernel.assign_add([[1.0], [0.0]]),
    "seed generator": lambda model: model.drop.seed_generator.next(),
    "momentum": lambda model: model.optimizers["slow"].variables[-1].assign_add([1.0]),
    "iterations": lambda model: model.optimizers["slow"].iterations.assign(5),
    "tf.Variable in a list": lambda model: model.queue[0].assign([1.0, 3.0]),
    "tf.random.Generator": lambda model: model.source.normal([]),
    "variable of a plain object": lambda model: model.holder.variable.assign(8.0),
    "Keras's global generator": lambda model: keras.random.normal([]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_any_variable_is_detected(what, model):
    before = variables_of(model)
    CHANGES[what](model)
    after = variables_of(model)
    assert len(differences(after[0], before[0])) == 1
    assert differences(after[1], before[1]) == []


def test_metrics_are_separated_from_other_variables(model):
    before = variables_of(model)
    model.seen.update_state([4.0])
    after = variables_of(model)
    assert differences(after[0], before[0]) == []
    assert differences(after[1], before[1]) == ["model.seen.total (seen/total) differs by 4"]


def test_the_last_bit_counts_and_nan_equals_itself():
    one = np.float32(1)
    expected = {"a": np.array([one, np.nan]), "b": [one, 2.0], "c": [(0, one)], "d": 1.0, "e": {}}
    assert differences({**expected, "a": np.array([one, np.nan])}, expected) == []
    found = {
        "a": np.array([np.nextafter(one, 2), np.nan]),
        "b": [one],
        "c": [(0, one + one)],
        "f": 0,
        "e": {},
    }
    assert differences(found, expected) == [
        "a differs by nan",
        "b has 1 entries for 2",
        "c[0] is (0, 2.0) for (0, 1.0)",
        "d is missing",
        "f is left over",
    ]
