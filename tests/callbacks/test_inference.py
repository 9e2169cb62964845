import doctest

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import inference
from mnist_keras.callbacks.inference import last_activation, model_inputs


def sequential(*layers):
    return keras.Sequential([keras.Input((2,)), *layers])


class Subclass(keras.Model):
    """A model that calls its last layer first."""

    def __init__(self):
        super().__init__()
        self.scores, self.gate = keras.layers.Dense(2), keras.layers.Softmax()

    def call(self, x):
        return self.scores(self.gate(x))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (sequential(keras.layers.Dense(3, "softmax")), "softmax"),
        (sequential(keras.layers.Dense(3)), "linear"),
        (sequential(keras.layers.Dense(3), keras.layers.Activation("sigmoid")), "sigmoid"),
        (sequential(sequential(keras.layers.Softmax())), "softmax"),
        (TapeModel(sequential(keras.layers.Dense(3, "softmax"))), "softmax"),
        (Subclass(), None),
        (keras.Sequential([]), None),
    ],
)
def test_the_last_activation_of_a_model_is_found(model, name):
    assert last_activation(model) == name


class Optional(keras.Model):
    """Its second input may be missing."""

    def call(self, inputs):
        return inputs["a"] if inputs["b"] is None else inputs["a"] + inputs["b"]


def test_inputs_keep_their_structure_and_missing_ones_are_none():
    model = Optional()
    model({"a": np.ones((2, 4)), "b": None})
    found = model_inputs(model)
    assert (found["a"].shape, found["a"].dtype, found["b"]) == ((2, 4), "float32", None)
    assert model_inputs(keras.Sequential()) is None


def test_the_example_is_true():
    assert doctest.testmod(inference).failed == 0
