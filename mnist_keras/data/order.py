"""The order of the examples in an epoch: a pure function of (seed, epoch)."""

import numpy as np

from mnist_keras.data.partitions import partitioned


def epoch_order(count, *, seed, epoch):
    """The order of ``count`` examples in a shuffled epoch: a permutation, int32 (count,).

    The order sorts raw 64-bit draws of Philox: NumPy guarantees their stream across versions, but
    not the result of ``Generator.permutation``.

    Args:
        count: the number of examples.
        seed: the seed, an integer.
        epoch: the epoch, an integer; for a partition, (the epoch, the partition's number).
    """
    draws = np.random.Philox(np.random.SeedSequence([seed, *np.atleast_1d(epoch)])).random_raw(
        count
    )
    return np.argsort(draws, kind="stable").astype(np.int32)


def order_of_epoch(count, epoch, *, partitions, batch_size, shuffle, seed):
    """The order of an epoch, int32 (count,); arguments as for `mnist_keras.data.batches`.

    With one partition the order is shuffled, whatever ``shuffle`` says.
    """
    if partitions == 1:
        return epoch_order(count, seed=seed, epoch=epoch)
    size = count // partitions
    if shuffle:
        epochs = [(epoch, partition) for partition in range(partitions)]
        orders = [epoch_order(size, seed=seed, epoch=one) for one in epochs]
    else:
        orders = [np.arange(size)] * partitions
    return partitioned(np.stack(orders), batch_size=batch_size)
