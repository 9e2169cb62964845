"""How a batch is sharded over replicas."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class BatchShard:
    """The shard of each batch that one worker's replicas get.

    A batch of n examples is split at ``n * i // replica_count``, so the replicas' shards differ in
    size by one example at most. With fewer examples than replicas some shards are empty. The
    arithmetic works for Python integers and for tensors.

    Attributes:
        first_replica, end_replica: the worker has the replicas from ``first_replica`` to before
            ``end_replica``.
        replica_count: how many replicas share a batch, over all workers.

    Example:

    >>> shard = BatchShard(first_replica=1, end_replica=3, replica_count=3)
    >>> [shard.bounds(7, replica) for replica in range(3)], shard.begin(7), shard.size(7)
    ([(0, 2), (2, 4), (4, 7)], 2, 5)
    """

    first_replica: int
    end_replica: int
    replica_count: int

    def bounds(self, batch_size, replica):
        """(begin, end) of a replica's shard in a batch."""
        begin = batch_size * replica // self.replica_count
        return begin, batch_size * (replica + 1) // self.replica_count

    def begin(self, batch_size):
        """Where the worker's shard begins in a batch."""
        return batch_size * self.first_replica // self.replica_count

    def size(self, batch_size):
        """How many examples of a batch the worker gets."""
        end = batch_size * self.end_replica // self.replica_count
        return end - self.begin(batch_size)

    def positions(self, begin, end, *, batch_size):
        """The positions in the epoch of the worker's examples of some batches, int64 (m,).

        Args:
            begin: position of the first example of the first batch.
            end: position after the last example of the last batch.
            batch_size: examples in a full batch.
        """
        shards = [
            np.arange(start + self.begin(size), start + self.begin(size) + self.size(size))
            for start in range(begin, end, batch_size)
            for size in [min(batch_size, end - start)]
        ]
        return np.concatenate([np.zeros(0, np.int64), *shards])

    def is_even(self, *batch_sizes):
        """Whether batches of all these sizes are split into shards of equal size."""
        return all(size % self.replica_count == 0 for size in batch_sizes)


UNSHARDED = BatchShard(first_replica=0, end_replica=1, replica_count=1)
