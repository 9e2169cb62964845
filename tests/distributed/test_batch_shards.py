import doctest
import types

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.data import batches, map_idx, windows, write_idx
from mnist_keras.distributed import batch_shards
from mnist_keras.distributed.batch_shards import BatchShard

COUNT = 25
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
LABELS = (np.arange(COUNT) % 10).astype(np.uint8)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(batch_shards).failed == 0


@pytest.mark.parametrize("replicas", [1, 2, 3, 7])
def test_shards_cover_the_batch_with_nearly_equal_sizes(replicas):
    shard = BatchShard(first_replica=0, end_replica=replicas, replica_count=replicas)
    for size in range(1, 20):
        shards = [shard.bounds(size, replica) for replica in range(replicas)]
        assert [index for bounds in shards for index in range(*bounds)] == list(range(size))
        sizes = {end - begin for begin, end in shards}
        assert max(sizes) - min(sizes) <= 1
        assert shard.is_even(size) == (len(sizes) == 1)


class OneOfTwoWorkers:
    """The part of a strategy that a stream uses, for a worker with one of two replicas."""

    num_replicas_in_sync = 2

    def __init__(self, index):
        self._context = types.SimpleNamespace(replica_id_in_sync_group=index)

    def experimental_distribute_values_from_function(self, function):
        function(self._context)


@pytest.mark.slow
@pytest.mark.parametrize("windows_of", [1, 2, 7])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_worker_reads_only_its_shard_of_a_batch(tmp_path, shuffle, windows_of, monkeypatch):
    monkeypatch.setattr(windows, "_READ_AT_ONCE_BYTES", 2**16)
    write_idx(tmp_path / "images", IMAGES)
    arguments = {"batch_size": 4, "shuffle": shuffle, "seed": 3}
    whole = batches(IMAGES, LABELS, **arguments)
    workers = [batches(map_idx(tmp_path / "images"), LABELS, **arguments) for _ in range(2)]
    for index, stream in enumerate(workers):
        stream.share_among(OneOfTwoWorkers(index))
    for epoch in (0, 2):
        for stream in (whole, *workers):
            stream.epoch = epoch
        expected = [[part.numpy() for part in batch] for batch in whole]
        for index, stream in enumerate(workers):
            begin, read = 0, 0
            while begin < len(stream):
                window, end = stream.window(begin, min(begin + windows_of, len(stream)))
                read += len(window.images)
                for step in range(begin, end):
                    found = stream.batch(window, tf.constant(step), replica=index)
                    size = len(expected[step][0])
                    part = slice(size * index // 2, size * (index + 1) // 2)
                    for ours, theirs in zip(found, expected[step], strict=True):
                        np.testing.assert_array_equal(ours, theirs[part])
                begin = end
            # The last batch has one example; worker 0 gets none.
            assert read == (12, 13)[index]
    for stream in workers:
        stream.close()
