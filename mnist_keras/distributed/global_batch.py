"""Layers that normalize or draw over a batch, with the numbers of one replica on several.

Each replica has a shard of the global batch. Batch normalization takes its mean and variance over
all replicas. Dropout draws for the global batch on every replica, from the same seed, and each
replica uses the draws for its own examples. Other layers that draw, such as noise and random
rotations, draw on each replica independently.
"""

import contextlib

import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.distributed import replicas


@contextlib.contextmanager
def layers_use_global_batch(model):
    """Use it while the step of several replicas is traced."""

    def dropout(keras_dropout, inputs, rate, noise_shape=None, seed=None):
        replica = replicas.current()
        if replica is None or not 0 < rate < 1:
            return keras_dropout(inputs, rate, noise_shape=noise_shape, seed=seed)
        # A layer may have split each example, into words or patches.
        pieces = tf.shape(inputs)[0] // tf.maximum(replica.size, 1)
        shape = tf.concat([[replica.global_batch_size * pieces], tf.shape(inputs)[1:]], axis=0)
        draws = keras_dropout(tf.ones(shape, inputs.dtype), rate, noise_shape, seed)
        begin = replica.begin * pieces
        return inputs * draws[begin : begin + tf.shape(inputs)[0]]

    with _keras.synchronized_normalization(model), _keras.replaced_dropout(dropout):
        yield
