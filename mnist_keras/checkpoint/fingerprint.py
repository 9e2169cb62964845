"""Fingerprints of batches, to check that a batch drawn again is the same as before."""

from typing import Any

import tensorflow as tf

_BUCKETS = 2**63 - 1


def fingerprint(batch: Any) -> tf.Tensor:
    """A hash of all numbers of a batch, int64 (); equal bits give equal hashes on any machine.

    Args:
        batch: nested tensors; of several replicas, only the first one of this process counts.

    Example:

    >>> a, b = (int(fingerprint({"x": tf.constant([1.0, number])})) for number in (2.0, 3.0))
    >>> a == b
    False
    """
    total = tf.zeros([], tf.int64)
    for number, part in enumerate(tf.nest.flatten(batch, expand_composites=True)):
        if isinstance(part, tf.Tensor) and part.dtype not in (tf.variant, tf.resource):
            own = tf.strings.to_hash_bucket_fast(tf.io.serialize_tensor(part), _BUCKETS)
            # Each part has its own odd factor, so that swapped columns give another sum.
            total += own * (2 * number + 1)
    return total


def local(batch: Any) -> Any:
    """The first replica's part of a batch, if several replicas of this process share it."""
    if isinstance(batch, tf.distribute.DistributedValues):
        return batch.values[0]
    if isinstance(batch, dict):
        return {name: local(part) for name, part in batch.items()}
    if isinstance(batch, (tuple, list)):
        return [local(part) for part in batch]
    return batch
