import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import SumSquaredError
from mnist_keras.model import losses

RNG = np.random.default_rng(0)
Y_TRUE = np.eye(10, dtype=np.float32)[RNG.integers(0, 10, 7)]
Y_PRED = RNG.random((7, 10), np.float32)


@pytest.mark.parametrize("size", [1, 6, 7])
def test_it_equals_the_tutorials_loss_for_any_batch_size(size):
    out, y = tf.constant(Y_PRED[:size]), tf.constant(Y_TRUE[:size])
    tutorial = tf.reduce_sum(tf.square(out - y)) / out.shape[0]
    np.testing.assert_allclose(SumSquaredError()(y, out), tutorial, rtol=1e-6)


def test_it_accepts_any_label_dtype_and_output_rank():
    images = RNG.random((3, 4, 5), np.float32)
    ones = np.ones((3, 4, 5), np.int32)
    expected = np.square(images - 1).sum((1, 2))
    np.testing.assert_allclose(SumSquaredError()(ones, images), expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(SumSquaredError().call(ones, images), expected, rtol=1e-6)


def test_examples_can_be_weighted_and_losses_left_unreduced():
    each = np.square(Y_PRED - Y_TRUE).sum(1)
    one_by_one = SumSquaredError(reduction="none")(Y_TRUE, Y_PRED)
    np.testing.assert_allclose(one_by_one, each, rtol=1e-6)
    weighted = SumSquaredError()(Y_TRUE, Y_PRED, sample_weight=np.arange(7))
    np.testing.assert_allclose(weighted, (each * np.arange(7)).sum() / 7, rtol=1e-6)


@pytest.mark.parametrize("dtype", [None, "float64", keras.DTypePolicy("float16")])
def test_it_is_saved_and_loaded_with_its_settings(dtype):
    loss = SumSquaredError(reduction="sum", name="mine", dtype=dtype)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(copy, SumSquaredError)
    assert (copy.name, copy.reduction, copy.dtype) == ("mine", "sum", loss.dtype)
    assert copy.get_config() == loss.get_config()


def test_the_example_is_true():
    assert doctest.testmod(losses) == (0, 2)
