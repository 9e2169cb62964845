import doctest

import numpy as np

from benchmarks import repeated_data
from mnist_keras.data import Examples, load


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(repeated_data).failed == 0


def test_only_the_training_set_is_repeated(tmp_path, digits):
    train, test = Examples(digits[0][:70], digits[1][:70]), Examples(digits[0][:9], digits[1][:9])
    repeated_data.write_repeated(tmp_path / "3", train, test, times=3)
    read_train, read_test = load("mnist", data_dir=tmp_path / "3")
    np.testing.assert_array_equal(read_train.images, np.concatenate([train.images] * 3))
    np.testing.assert_array_equal(read_train.labels, np.concatenate([train.labels] * 3))
    np.testing.assert_array_equal(read_test.images, test.images)


def test_sizes_that_do_not_fit_together_are_omitted():
    def fitting(free_bytes):
        return repeated_data.those_that_fit([1, 10, 2], bytes_each=100, free_bytes=free_bytes)

    assert fitting(1300) == ([1, 10, 2], 1300)
    assert fitting(1299) == ([1, 10], 1100)
    assert fitting(1099) == ([1, 2], 300)
    assert fitting(99) == ([], 0)
