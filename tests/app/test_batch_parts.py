import doctest

import pytest

from mnist_keras.app import batch_parts


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(batch_parts).failed == 0


@pytest.mark.parametrize(
    ("network", "batch_size", "cores", "parts"),
    [
        ("mlp", 200, 2, 2),
        ("cnn", 200, 3, 2),
        ("cnn_fast", 256, 2, 2),
        ("mlp", 100, 2, 2),
        ("mlp", 99, 2, 1),
        ("mlp", 200, 1, 1),
        ("mlp", 200, 16, 1),
        ("deep_cnn", 200, 2, 1),
    ],
)
def test_a_batch_is_split_where_that_is_faster(network, batch_size, cores, parts):
    assert batch_parts.choose(network=network, batch_size=batch_size, cores=cores) == parts


def test_the_number_of_cores_is_detected_by_default():
    assert batch_parts.choose(network="mlp", batch_size=200) in (1, 2)
