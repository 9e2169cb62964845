"""Which part of each batch is whose, where several replicas share it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Share:
    """One worker's part of each batch: what its replicas get.

    A batch of n examples is cut at ``n * i // replicas``, so the parts are of as equal sizes as can
    be; where there are fewer examples than replicas some parts are empty. The arithmetic takes
    whole numbers and tensors alike.

    Attributes:
        first, last: the replicas from ``first`` to before ``last`` are this worker's.
        replicas: how many share a batch, over all workers.

    Example:

    >>> share = Share(first=1, last=3, replicas=3)
    >>> [share.bounds(7, replica) for replica in range(3)], share.begin(7), share.width(7)
    ([(0, 2), (2, 4), (4, 7)], 2, 5)
    """

    first: int
    last: int
    replicas: int

    def bounds(self, size, replica):
        """(begin, end) of a replica's part in a batch of ``size`` examples."""
        return size * replica // self.replicas, size * (replica + 1) // self.replicas

    def begin(self, size):
        """Where the worker's part of a batch of ``size`` examples begins."""
        return size * self.first // self.replicas

    def width(self, size):
        """How many examples of a batch of ``size`` are the worker's."""
        return size * self.last // self.replicas - self.begin(size)

    def positions(self, begin, end, *, batch_size):
        """Where in the epoch the worker's examples of some batches lie, int64 (m,).

        Args:
            begin, end: examples of the epoch, from the first one of a batch to before the last
                one of a batch.
            batch_size: examples in a full batch.
        """
        parts = [
            np.arange(start + self.begin(size), start + self.begin(size) + self.width(size))
            for start in range(begin, end, batch_size)
            for size in [min(batch_size, end - start)]
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def is_even(self, *sizes):
        """Whether batches of all these sizes are cut into equal parts."""
        return all(size % self.replicas == 0 for size in sizes)


WHOLE = Share(first=0, last=1, replicas=1)
