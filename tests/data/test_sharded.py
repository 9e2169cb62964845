import doctest

import numpy as np
import pytest

from mnist_keras.data import sharded
from mnist_keras.data.sharded import Absent, Sharded, find_shards, those_here
from mnist_keras.errors import DataError

ROWS = np.arange(36, dtype=np.uint8).reshape(12, 3)
CUTS = [ROWS[:5], ROWS[5:5], ROWS[5:6], ROWS[6:]]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(sharded, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize(
    "rows",
    [
        0,
        -1,
        11,
        slice(None),
        slice(4, 7),
        slice(-3, None),
        slice(7, 7),
        slice(None, None, 2),
        [],
        [3],
        [11, 0, 5, 5, 4],
        np.array([-1, 2]),
        np.arange(12) % 5 == 3,
    ],
    ids=str,
)
def test_shards_are_indexed_like_one_array(rows):
    array = Sharded(CUTS)
    assert (array.shape, array.ndim, array.dtype, len(array)) == ((12, 3), 2, np.uint8, 12)
    found = np.asarray(array[np.asarray(rows, int) if isinstance(rows, list) else rows])
    np.testing.assert_array_equal(found, ROWS[rows])


def test_a_slice_of_a_slice_reads_nothing():
    class Watched:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __len__(self):
            return len(self.array)

        def __getitem__(self, rows):
            assert isinstance(rows, slice)
            return Watched(self.array[rows])

    part = Sharded([Watched(cut) for cut in CUTS])[2:9][1:]
    np.testing.assert_array_equal(np.concatenate([p.array for p in part.parts]), ROWS[3:9])


def test_absent_and_present_shards_are_distinguished():
    array = Sharded([ROWS[:4], Absent((4, 3), np.uint8, "the second"), ROWS[8:]])
    np.testing.assert_array_equal(array[[9, 0]], ROWS[[9, 0]])
    assert len(array[3:6]) == 3
    here, labels = those_here(array[2:], np.arange(2, 12))
    np.testing.assert_array_equal(np.asarray(here), ROWS[[2, 3, 8, 9, 10, 11]])
    assert labels.tolist() == [2, 3, 8, 9, 10, 11]
    with pytest.raises(DataError, match=r"Received: no the second\. "):
        array[[3, 4]]


def test_shards_with_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"^the shards of an array differ\. "):
        Sharded([ROWS, ROWS.astype(np.int32)])
    with pytest.raises(DataError, match=r"^the shards of an array differ\. "):
        Sharded([ROWS, ROWS[:, :2]])


def test_shards_of_two_data_sets_are_reported():
    names = ["a-00000-of-00002", "a-00001-of-00003"]
    with pytest.raises(DataError, match=r"^the shards of a are not one set\. "):
        find_shards(names, "a")
    with pytest.raises(DataError, match=r"^the shards of a are not one set\. "):
        find_shards(["a-00002-of-00002"], "a")
    assert find_shards(names, "b") == ({}, 0)
