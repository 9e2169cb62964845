"""The order in which an epoch takes the examples: a pure function of (seed, epoch)."""

import numpy as np

from mnist_keras.data.partitions import partitioned


def epoch_order(count, *, seed, epoch):
    """The order of ``count`` examples in a shuffled epoch: a permutation, int32 (count,).

    ``epoch`` is a whole number; of a partition, the pair of it and the partition's number.

    It sorts raw 64-bit draws of Philox, whose stream NumPy guarantees across versions, which it
    does not for ``Generator.permutation``.
    """
    draws = np.random.Philox(np.random.SeedSequence([seed, *np.atleast_1d(epoch)])).random_raw(
        count
    )
    return np.argsort(draws, kind="stable").astype(np.int32)


def order_of_epoch(count, epoch, *, partitions, batch_size, shuffle, seed):
    """The order of an epoch, int32 (count,); the arguments are those of `mnist_keras.data.batches`.

    With one partition it is a shuffled one.
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
