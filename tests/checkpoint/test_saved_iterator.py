import contextlib
import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.checkpoint import saved_iterator
from mnist_keras.checkpoint.saved_iterator import SavedIterator
from tests.callbacks.killing import Kill, Killed

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
PIPELINES = {
    "an iterator for each epoch": (lambda data: data.shuffle(10, seed=3).batch(4), {}),
    "one iterator for all epochs": (
        lambda data: data.shuffle(10, seed=3).repeat().batch(4).prefetch(2),
        {"steps_per_epoch": 5},
    ),
}


def test_the_example_in_the_docstring_holds():
    assert doctest.testmod(saved_iterator).failed == 0


def train(directory, name, *, kill=None):
    make, options = PIPELINES[name]
    keras.utils.set_random_seed(0)
    model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile(optimizer="adam", loss="mse", steps_per_execution=3)
    checkpoint = Checkpoint(directory, every_steps=2, notice=lambda line: None)
    callbacks = [checkpoint] if kill is None else [checkpoint, Kill(kill)]
    data = make(tf.data.Dataset.from_tensor_slices((X, X.sum(1, keepdims=True))))
    with contextlib.suppress(Killed):
        model.fit(data, epochs=3, verbose=0, callbacks=callbacks, **options)
    assert checkpoint.is_exact
    return model.get_weights()


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_a_resume_draws_what_came_after_the_saved_state(name, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_iterator, "_COST", 1e-12)  # It saves one state in a fit.
    whole = train(tmp_path / "whole", name)
    for kill in (5, 11):
        train(tmp_path / "killed", name, kill=kill)
    resumed = train(tmp_path / "killed", name)
    for found, expected in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_state_that_is_too_large_is_not_saved_again(monkeypatch):
    states = iter([b"new", b"too large", b"newer"])
    monkeypatch.setattr(saved_iterator, "_MOST_BYTES", 5)
    monkeypatch.setattr(saved_iterator.iterator_state, "save", lambda iterator: next(states))
    saved = SavedIterator(clock=lambda: 1.0)
    saved.begin(None)
    assert [saved.at(None, 7), saved.at(None, 8)] == [(b"new", 0)] * 2
    saved.begin(None)
    assert saved.at(None, 7) == (b"newer", 0)
