import doctest
import sys

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, load_weights
from mnist_keras.checkpoint.training_state import StateMismatchError
from mnist_keras.errors import UsageError

X, Y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)


def make(units=1):
    return TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the directory of two checkpoints, {step: weights})."""
    directory, weights = tmp_path_factory.mktemp("checkpoints"), {}
    model = make()
    model.compile(optimizer="adam", loss="mse")
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.update({4 * epoch + 4: model.get_weights()})
    )
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[keep, Checkpoint(directory)])
    return directory, weights


@pytest.mark.slow
def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(sys.modules["mnist_keras.callbacks.load_weights"]).failed == 0


@pytest.mark.parametrize(("step", "expected"), [(None, 8), (4, 4), (8, 8)])
def test_the_weights_of_a_given_or_the_newest_step_load(trained, step, expected):
    directory, weights = trained
    model = make()
    assert load_weights(model, directory, step=step) == expected
    for found, saved in zip(model.get_weights(), weights[expected], strict=True):
        np.testing.assert_array_equal(found, saved)


def test_a_missing_step_is_an_error_listing_the_available_steps(trained):
    with pytest.raises(UsageError, match=r"step 5 in .*\(found: 4, 8\)\.$"):
        load_weights(make(), trained[0], step=5)


def test_a_different_network_is_refused_and_unchanged(trained):
    model = make(units=2)
    before = model.get_weights()
    with pytest.raises(StateMismatchError, match="does not match the model"):
        load_weights(model, trained[0])
    for found, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)
