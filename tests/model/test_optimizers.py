"""mnist_keras.model.optimizers."""

import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.model import optimizers


def _weights_after_fit(optimizer, *, dtype="float32", **compile_arguments):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(7, activation="relu", dtype=dtype)]
    )
    model = TapeModel(network)
    model.compile(optimizer=optimizer, loss="mse", **compile_arguments)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(12, 7))
    model.fit(x, y, batch_size=5, epochs=3, shuffle=False, verbose=0)
    return network.get_weights()


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(optimizers, extraglobs={"keras": keras, "tf": tf}).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.1},
        {"clipnorm": 0.01},
        {"use_ema": True, "ema_momentum": 0.5},
        {"gradient_accumulation_steps": 2},
    ],
    ids=str,
)
def test_it_trains_like_keras_sgd(arguments):
    ours = _weights_after_fit(optimizers.SGD(0.1, **arguments))
    keras_own = _weights_after_fit(keras.optimizers.SGD(0.1, **arguments))
    for weight, expected in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_it_follows_a_schedule():
    def schedule():
        return keras.optimizers.schedules.CosineDecay(0.1, decay_steps=9)

    ours = _weights_after_fit(optimizers.SGD(schedule()))
    keras_own = _weights_after_fit(keras.optimizers.SGD(schedule()))
    np.testing.assert_allclose(ours[0], keras_own[0], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_it_trains_in_mixed_precision(dtype):
    def wrapped(optimizer):
        return keras.optimizers.LossScaleOptimizer(optimizer)

    ours = _weights_after_fit(wrapped(optimizers.SGD(0.1)), dtype=dtype)
    keras_own = _weights_after_fit(wrapped(keras.optimizers.SGD(0.1)), dtype=dtype)
    np.testing.assert_allclose(ours[0], keras_own[0], rtol=1e-6, atol=1e-7)


def test_sparse_gradients_update_only_their_rows():
    weight = keras.Variable([[1.0], [2.0], [3.0]])
    optimizers.SGD(0.5).apply([tf.IndexedSlices([[2.0]], [1], dense_shape=[3, 1])], [weight])
    assert weight.numpy().tolist() == [[1.0], [1.0], [3.0]]


def test_it_is_saved_and_loaded():
    stored = keras.optimizers.serialize(optimizers.SGD(0.25, momentum=0.5))
    again = keras.optimizers.deserialize(stored)
    assert type(again) is optimizers.SGD
    assert (float(again.learning_rate), again.momentum) == (0.25, 0.5)
