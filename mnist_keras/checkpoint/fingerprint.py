"""Fingerprints of batches: whether what is drawn again is what was drawn before."""

from typing import Any

import tensorflow as tf

_BUCKETS = 2**63 - 1


def fingerprint(batch: Any) -> tf.Tensor:
    """A hash of all numbers of a batch, int64 (); the same for the same bits, on any machine.

    Args:
        batch: tensors, nested; of several replicas those of the first one here count.

    Example:

    >>> a, b = (int(fingerprint({"x": tf.constant([1.0, number])})) for number in (2.0, 3.0))
    >>> a == b
    False
    """
    total = tf.zeros([], tf.int64)
    for number, part in enumerate(tf.nest.flatten(batch, expand_composites=True)):
        if isinstance(part, tf.Tensor) and part.dtype not in (tf.variant, tf.resource):
            own = tf.strings.to_hash_bucket_fast(tf.io.serialize_tensor(part), _BUCKETS)
            # Sums of odd multiples: two columns that change places do not cancel out.
            total += own * (2 * number + 1)
    return total


def local(batch: Any) -> Any:
    """The batch of the first replica of this process, where several share it."""
    if isinstance(batch, tf.distribute.DistributedValues):
        return batch.values[0]
    if isinstance(batch, dict):
        return {name: local(part) for name, part in batch.items()}
    if isinstance(batch, (tuple, list)):
        return [local(part) for part in batch]
    return batch
