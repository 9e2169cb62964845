import doctest
import types

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.data import batches, partitions
from mnist_keras.data.partitions import held_out_last
from mnist_keras.data.sharded import Absent, Sharded
from mnist_keras.errors import UsageError

COUNT, PARTITIONS = 36, 4
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
IMAGES[:, 0, 0] = np.arange(COUNT)  # The first pixel identifies the image.
LABELS = (np.arange(COUNT) % 10).astype(np.uint8)
PARTS = np.split(IMAGES, PARTITIONS)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(partitions, extraglobs={"np": np}).failed == 0


def stream(images=IMAGES, **arguments):
    return batches(images, LABELS, batch_size=8, partitions=PARTITIONS, **arguments)


def drawn(batch_stream):
    """The numbers of the examples in each batch."""
    return [np.rint(np.asarray(x)[:, 0, 0] * 255).astype(int).tolist() for x, _ in batch_stream]


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_batch_has_equally_many_examples_of_each_partition(shuffle):
    found = drawn(stream(shuffle=shuffle))
    assert [len(batch) for batch in found] == [8, 8, 8, 8, 4]
    for batch in found:
        assert [number // 9 for number in batch] == np.repeat(range(4), len(batch) // 4).tolist()
    seen = np.concatenate(found)
    assert sorted(seen) == list(range(COUNT))
    assert (seen.tolist() == sorted(seen)) is False


def test_shuffled_orders_differ_between_partitions_and_epochs():
    shuffled = stream(shuffle=True, seed=1)
    orders = []
    for epoch in range(2):
        shuffled.epoch = epoch
        order = np.concatenate(drawn(shuffled))
        orders += [tuple(order[order // 9 == part] % 9) for part in range(4)]
    assert len(set(orders)) == 8


class OneOfTwoWorkers:
    """The part of a strategy that a stream uses, for a worker with one of two replicas."""

    num_replicas_in_sync = 2

    def __init__(self, index):
        self._context = types.SimpleNamespace(replica_id_in_sync_group=index)

    def experimental_distribute_values_from_function(self, function):
        function(self._context)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_worker_needs_only_the_files_of_its_partitions(shuffle):
    expected = [[part.numpy() for part in batch] for batch in stream(shuffle=shuffle)]
    for index in range(2):
        parts = [Absent((9, 28, 28), np.uint8, "other")] * 4
        parts[2 * index : 2 * index + 2] = PARTS[2 * index : 2 * index + 2]
        its = stream(Sharded(parts), shuffle=shuffle)
        its.share_among(OneOfTwoWorkers(index))
        begin = 0
        while begin < len(its):
            window, end = its.window(begin, begin + 1)
            found = its.batch(window, tf.constant(begin), replica=index)
            for ours, theirs in zip(found, expected[begin], strict=True):
                np.testing.assert_array_equal(ours, np.split(theirs, 2)[index])
            begin = end
        its.close()


def test_the_identity_depends_on_partitions_and_every_image():
    plain = stream().identity
    assert plain["partitions"] == PARTITIONS
    assert stream(Sharded(PARTS)).identity == plain
    changed = IMAGES.copy()
    changed[20, 5, 5] ^= 1
    assert stream(changed).identity["sha256"] != plain["sha256"]
    assert "partitions" not in batches(IMAGES, LABELS, batch_size=8).identity


@pytest.mark.parametrize("images", [IMAGES, Sharded(PARTS)], ids=["array", "shards"])
def test_the_last_examples_of_each_partition_are_held_out(images):
    ordered, labels = held_out_last(images, LABELS, partitions=PARTITIONS, held_out=8)
    numbers = np.asarray(ordered)[:, 0, 0].tolist()
    assert numbers[-8:] == [7, 8, 16, 17, 25, 26, 34, 35]
    assert sorted(numbers) == list(range(COUNT))
    assert labels.tolist() == [number % 10 for number in numbers]
    assert type(ordered) is type(images)


@pytest.mark.parametrize("sizes", [{"batch_size": 10}, {"batch_size": 4, "partitions": 8}])
def test_uneven_partitions_are_refused(sizes):
    with pytest.raises(UsageError, match=r"^the partitions of the data must have the same size\. "):
        batches(IMAGES, LABELS, **{"partitions": 4, **sizes})
