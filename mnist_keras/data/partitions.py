"""Batches that take the same number of examples from each partition of a data set.

A partition is a run of consecutive examples, and so of shards; all partitions have the same size. A
worker that reads only its own partitions does not need the files of the others. The order depends
on the number of partitions, not on the number of workers: one device with all files trains on the
same batches.
"""

import numpy as np

from mnist_keras.data.sharded import Sharded
from mnist_keras.errors import UsageError


def require_even(partitions, **counts):
    """Refuse numbers of examples that cannot be split into equal partitions.

    Raises:
        UsageError: names the first such number.

    >>> require_even(4, batch_size=200)
    """
    for name, count in counts.items():
        if count % partitions:
            raise UsageError(
                f"the partitions of the data must have the same size. Received: {name}={count}, "
                f"{partitions} partitions. Expected: a multiple of {partitions}."
            )


def partitioned(orders, *, batch_size):
    """The order of an epoch, int32 (n,), from the order of each partition.

    Args:
        orders: int (partitions, n / partitions), the order within each partition, from 0.
        batch_size: examples in a full batch, a multiple of the partitions.

    >>> partitioned(np.array([[0, 1, 2], [2, 1, 0]]), batch_size=4).tolist()
    [0, 1, 5, 4, 2, 3]
    """
    partitions, size = orders.shape
    orders = (orders + size * np.arange(partitions)[:, np.newaxis]).astype(np.int32)
    width = batch_size // partitions
    end = size // width * width
    full = orders[:, :end].reshape(partitions, -1, width).swapaxes(0, 1)
    return np.concatenate([full.ravel(), orders[:, end:].ravel()])


def held_out_last(images, labels, *, partitions, held_out):
    """Images and labels, reordered: the held-out examples of each partition come last.

    The last examples of each partition are held out.

    Args:
        images, labels: arrays of n rows each; a `mnist_keras.data.sharded.Sharded` of images is
            not read.
        partitions: the number of partitions.
        held_out: the number of held-out examples, a multiple of ``partitions``.

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
