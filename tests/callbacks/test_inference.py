import doctest

import keras
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import inference
from mnist_keras.callbacks.inference import last_activation


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


def test_the_example_is_true():
    assert doctest.testmod(inference).failed == 0
