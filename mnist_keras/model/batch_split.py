"""A batch cut into parts that the processor computes side by side, and put together again."""

import itertools

import keras
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.distributed.replicas import example_count
from mnist_keras.errors import UsageError


def require(parts, network):
    """Refuse to cut the batches of a network that cannot be cut.

    Raises:
        UsageError: ``parts`` is no whole number of at least 1; or above 1 without a wrapped
            network, or with one that normalizes over the batch.
    """
    if not isinstance(parts, int) or parts < 1:
        raise UsageError(
            f"batch_parts is wrong. Received: {parts!r}. Expected: a whole number of at least 1."
        )
    if parts == 1:
        return
    if network is None:
        raise UsageError(
            f"only a wrapped network's batch can be cut. Received: batch_parts={parts}. "
            "Expected: TapeModel(network, batch_parts=...), or 1."
        )
    normalization = keras.layers.BatchNormalization
    if any(isinstance(layer, normalization) for layer in _keras.flatten_layers(network)):
        raise UsageError(
            f"batch normalization needs the whole batch. Received: batch_parts={parts}. "
            "Expected: 1."
        )


def split(inputs, count):
    """A batch cut into so many parts of as equal sizes as can be; a nested structure likewise."""
    size = example_count(inputs)
    bounds = [size * part // count for part in range(count + 1)]
    return [
        tf.nest.map_structure(lambda x, begin=begin, end=end: x[begin:end], inputs)
        for begin, end in itertools.pairwise(bounds)
    ]


def joined(*parts):
    """The outputs for the parts of a batch as one; their masks too, where they have any."""
    whole = tf.concat(parts, axis=0)
    masks = [_keras.mask_of(part) for part in parts]
    if masks[0] is not None:
        _keras.set_mask(whole, tf.concat(masks, axis=0))
    return whole
