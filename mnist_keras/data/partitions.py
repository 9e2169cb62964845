"""Batches that take an equal part from each partition of a data set.

A partition is a run of its examples, and so of its shards; all are of one size. A worker that has
partitions of its own needs no file of the others. The order depends on the number of partitions,
and not on that of the workers: one device that has all files trains on the same batches.
"""

import numpy as np

from mnist_keras.data.sharded import Sharded
from mnist_keras.errors import UsageError


def require_even(partitions, **counts):
    """Refuse numbers of examples that so many partitions cannot share.

    Raises:
        UsageError: names the first one.

    >>> require_even(4, batch_size=200)
    """
    for name, count in counts.items():
        if count % partitions:
            raise UsageError(
                f"the partitions of the data are of one size each. Received: {name}={count}, "
                f"{partitions} partitions. Expected: a multiple of {partitions}."
            )


def partitioned(orders, *, batch_size):
    """The order of an epoch, int32 (n,), of the order of each partition.

    Args:
        orders: int (partitions, n / partitions): each partition's own, from 0.
        batch_size: examples in a full batch, a multiple of the partitions.

    >>> partitioned(np.array([[0, 1, 2], [2, 1, 0]]), batch_size=4).tolist()
    [0, 1, 5, 4, 2, 3]
    """
    partitions, size = orders.shape
    orders = (orders + size * np.arange(partitions)[:, np.newaxis]).astype(np.int32)
    width = batch_size // partitions
    whole = size // width * width
    full = orders[:, :whole].reshape(partitions, -1, width).swapaxes(0, 1)
    return np.concatenate([full.ravel(), orders[:, whole:].ravel()])


def held_out_last(images, labels, *, partitions, held_out):
    """Images and labels in another order: the last ones of each partition behind all the others.

    Args:
        images, labels: arrays of n rows each; the images may be a
            `mnist_keras.data.sharded.Sharded`, and are not read then.
        partitions: how many.
        held_out: how many of the n, a multiple of the partitions.

    >>> held_out_last(np.arange(6), np.arange(6), partitions=2, held_out=2)[1].tolist()
    [0, 1, 3, 4, 2, 5]
    """
    size, width = len(labels) // partitions, held_out // partitions
    kept = [slice(begin, begin + size - width) for begin in range(0, len(labels), size)]
    last = [slice(part.stop, part.stop + width) for part in kept]
    parts = [images[part] for part in (*kept, *last)]
    stays_in_files = isinstance(images, (Sharded, np.memmap))
    joined = Sharded(parts) if stays_in_files else np.concatenate(parts)
    return joined, np.concatenate([labels[part] for part in (*kept, *last)])
