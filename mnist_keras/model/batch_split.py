"""A batch split into parts that the CPU computes in parallel, and their outputs joined again."""

import itertools

import keras
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.distributed.replicas import example_count
from mnist_keras.errors import UsageError


def require(parts, network):
    """Raise an error unless a network's batches can be split into so many parts.

    Args:
        parts: number of parts.
        network: the wrapped network, or None.

    Raises:
        UsageError: ``parts`` is not an integer of at least 1; or it is above 1 and there is no
            wrapped network, or one that normalizes over the batch.
    """
    if not isinstance(parts, int) or parts < 1:
        raise UsageError(
            f"batch_parts is wrong. Received: {parts!r}. Expected: an integer of at least 1."
        )
    if parts == 1:
        return
    if network is None:
        raise UsageError(
            "only the batches of a wrapped network can be split. Received: "
            f"batch_parts={parts}. Expected: TapeModel(network, batch_parts=...), or 1."
        )
    normalization = keras.layers.BatchNormalization
    if any(isinstance(layer, normalization) for layer in _keras.flatten_layers(network)):
        raise UsageError(
            "batch normalization needs the batch in one part. Received: "
            f"batch_parts={parts}. Expected: 1."
        )


def split(inputs, count):
    """The parts of a batch, which differ in size by one example at most.

    Args:
        inputs: a tensor or a nested structure of tensors, each (batch, ...).
        count: number of parts.

    Returns:
        A list of ``count`` structures like ``inputs``.
    """
    size = example_count(inputs)
    bounds = [size * part // count for part in range(count + 1)]
    return [
        tf.nest.map_structure(lambda x, begin=begin, end=end: x[begin:end], inputs)
        for begin, end in itertools.pairwise(bounds)
    ]


def joined(*parts):
    """The outputs for the parts of a batch, concatenated with their masks."""
    outputs = tf.concat(parts, axis=0)
    masks = [_keras.mask_of(part) for part in parts]
    if masks[0] is not None:
        _keras.set_mask(outputs, tf.concat(masks, axis=0))
    return outputs
