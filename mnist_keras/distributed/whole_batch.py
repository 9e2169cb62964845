"""Layers that look at a whole batch or draw for it: on several replicas as on one.

Each replica has a part of the batch. Batch normalization then takes its mean and variance over all
replicas, and dropout draws for all examples and keeps its part's draws. Other layers that draw
(noise, random rotations) draw on each replica for itself.
"""

import contextlib

import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.distributed import replicas


@contextlib.contextmanager
def seen_by_layers(model):
    """While the step of several replicas is traced."""

    def dropout(keras_dropout, inputs, rate, noise_shape=None, seed=None):
        replica = replicas.current()
        if replica is None or not 0 < rate < 1:
            return keras_dropout(inputs, rate, noise_shape=noise_shape, seed=seed)
        # A layer may have split each example, into words or patches.
        pieces = tf.shape(inputs)[0] // tf.maximum(replica.size, 1)
        shape = tf.concat([[replica.batch_size * pieces], tf.shape(inputs)[1:]], axis=0)
        draws = keras_dropout(tf.ones(shape, inputs.dtype), rate, noise_shape, seed)
        begin = replica.begin * pieces
        return inputs * draws[begin : begin + tf.shape(inputs)[0]]

    with _keras.synchronized_normalization(model), _keras.replaced_dropout(dropout):
        yield
