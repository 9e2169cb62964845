"""A program that trains a head, then unfreezes the layers below it and trains on."""

import contextlib

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.checkpoint.training_state import StateMismatchError
from tests.callbacks.killing import Kill, Killed

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
Y = (X.sum(1, keepdims=True) > 0).astype(np.float32)


def program(directory, *, kill=None, names=("head", "all")):
    """(final weights, History of each fit); None if it was killed."""
    keras.utils.set_random_seed(0)
    base = keras.Sequential([keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.3)])
    base.trainable = False
    model = TapeModel(keras.Sequential([keras.Input((6,)), base, keras.layers.Dense(1)]))
    histories = []
    for name, rate in zip(names, (0.01, 0.001), strict=True):
        model.compile(keras.optimizers.Adam(rate), "mse")
        checkpoint = Checkpoint(directory / name, every_steps=4, notice=lambda line: None)
        callbacks = [checkpoint] if kill is None else [checkpoint, Kill(kill)]
        with contextlib.suppress(Killed):
            history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
            histories.append(history.history)
        if model.steps_trained == kill:
            return None
        base.trainable = True
    return [weight.tolist() for weight in model.get_weights()], histories


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return program(tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.parametrize("kill", [5, 17])  # The second fit begins at step 12.
def test_each_fit_with_its_own_directory_resumes_exactly(uninterrupted, tmp_path, kill):
    assert program(tmp_path, kill=kill) is None
    assert program(tmp_path) == uninterrupted


def test_two_fits_in_one_directory_are_told_to_use_two(tmp_path):
    with pytest.raises(StateMismatchError, match=r"several fits .* need a directory each"):
        program(tmp_path, names=("same", "same"))
