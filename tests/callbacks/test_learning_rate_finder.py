import doctest
import itertools
import pickle
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import (
    Checkpoint,
    LearningRateFinder,
    StepLogger,
    learning_rate_finder,
    steered_rate,
)
from mnist_keras.data import batches
from mnist_keras.errors import UsageError
from tests.models import Subclassed

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = X @ np.array([[1.0], [-2.0], [0.5]], np.float32)
SWEEP = {"steps": 40, "max_rate": 1e4}
DECAY = keras.optimizers.schedules.ExponentialDecay


def network(*, dropout=0.0):
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(dropout), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((3,)), *layers])


class Noise(keras.layers.Layer):
    """Draws from each kind of generator, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.seen = tf.Variable(0)
        self.generator = tf.random.Generator.from_seed(3)

    def call(self, x):
        self.seen.assign_add(1)
        noise = tf.random.normal(tf.shape(x)) + keras.random.normal(tf.shape(x))
        return x + 0.1 * (noise + self.generator.normal([]))


def noisy():
    return [Noise(), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)]


def scaled(**options):
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), **options)


# name: (make the model, make the optimizer, further arguments of compile)
PROGRAMS = {
    "adam and dropout": (
        lambda: TapeModel(network(dropout=0.5)),
        lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5),
        {"steps_per_execution": 7},
    ),
    "a schedule": (
        lambda: TapeModel(network()),
        lambda: keras.optimizers.SGD(DECAY(0.1, 3, 0.9), momentum=0.9),
        {"steps_per_execution": 7},
    ),
    "a function as the rate": (
        lambda: TapeModel(network()),
        lambda: keras.optimizers.SGD(lambda: tf.constant(0.02)),
        {},
    ),
    "a scaled loss": (lambda: TapeModel(network()), scaled, {"steps_per_execution": 7}),
    "accumulation": (
        lambda: TapeModel(network()),
        lambda: keras.optimizers.SGD(0.01, gradient_accumulation_steps=4),
        {},
    ),
    "random steps": (
        lambda: TapeModel(keras.Sequential(noisy())),
        lambda: keras.optimizers.SGD(0.01),
        {"steps_per_execution": 7},
    ),
    "eager random steps": (
        lambda: TapeModel(keras.Sequential(noisy())),
        lambda: keras.optimizers.SGD(0.01),
        {"run_eagerly": True},
    ),
    "plain": (
        lambda: network(dropout=0.5),
        lambda: keras.optimizers.AdamW(0.01),
        {},
    ),
    "plain with a schedule": (network, lambda: keras.optimizers.SGD(DECAY(0.1, 3, 0.9)), {}),
    "plain with random steps": (
        lambda: Subclassed(noisy()),
        lambda: keras.optimizers.SGD(0.01),
        {},
    ),
}


def compiled(program):
    keras.utils.set_random_seed(1)
    make, optimizer, arguments = PROGRAMS[program]
    model = make()
    model.compile(optimizer(), "mse", metrics=["mae"], **arguments)
    if model.run_eagerly:
        model(X)
        model.optimizer.build(model.trainable_variables)
    return model


def sweep(model, **options):
    finder = LearningRateFinder(**{**SWEEP, **options})
    with finder:
        model.fit(X, Y, batch_size=6, epochs=4, verbose=0, callbacks=[finder])
    return finder


def everything(model):
    """What a training leaves, and what the random generators draw next."""
    history = model.fit(X, Y, batch_size=6, epochs=2, verbose=0).history
    variables = [*model.variables, *model.optimizer.variables]
    counts = [getattr(model, name, None) for name in ("steps_trained",)]
    draws = [random.random(), np.random.random(), tf.random.normal([]), keras.random.normal([])]
    return [history, *counts, *map(np.array, (*variables, *draws))]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a == b
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("is_half_trained", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_next_fit_is_as_without_the_finder(program, is_half_trained):
    results = []
    for uses_finder in (True, False):
        model = compiled(program)
        if is_half_trained:
            model.fit(X, Y, batch_size=6, verbose=0)
        if uses_finder:
            finder = sweep(model)
            assert finder.rates[-1] > 0.1
        results.append(everything(model))
    assert same(*results)
