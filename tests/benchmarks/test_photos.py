"""Rendered photos, read by a nearest-neighbour classifier: this tests the preparation."""

import numpy as np
import pytest

from benchmarks import photos
from mnist_keras.data import load
from mnist_keras.data.datasets.synthetic import synthetic_digits


def nearest_of(images, labels):
    """A classifier: the label of the most similar image."""
    known = images.reshape(len(images), -1).astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    return lambda asked: labels[
        (asked.reshape(len(asked), -1).astype(np.float32) @ known.T).argmax(1)
    ]


def check(shares):
    clean, photo, bare, inverted, page_clean, page = shares.values()
    assert photo >= clean - 0.11
    assert page >= page_clean - 0.11
    assert max(bare, inverted) < 0.5


@pytest.mark.slow
def test_synthetic_digits_are_read_from_photos_almost_equally_well():
    known = nearest_of(*synthetic_digits(5000, seed=0))
    images, labels = synthetic_digits(500, seed=1)
    check(photos.score(known, images, labels, photos=25, pages=3, seed=0))


@pytest.mark.slow
def test_mnist_digits_are_read_from_photos_almost_equally_well(real_mnist):
    train, test = load("mnist", data_dir=real_mnist)
    known = nearest_of(train.images[:5000], train.labels[:5000])
    check(photos.score(known, test.images, test.labels, photos=25, pages=3, seed=0))


def test_the_same_seed_gives_the_same_photo():
    images, _ = synthetic_digits(2, seed=0)
    first, again, other = (
        photos.photo_of([list(images)], np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert (first.shape, first.dtype) == ((480, 640, 3), np.uint8)


@pytest.mark.parametrize("missed", [0, 1])
def test_a_photo_with_missed_digits_counts_as_wrong(missed):
    class Reading:
        def __init__(self, count):
            self.images = np.zeros((count, 28, 28), np.uint8)

    found = [Reading(2), Reading(2 - missed)]
    truth = np.array([[0, 1], [0, 0]])
    share = photos._share(found, truth, lambda images: np.zeros(len(images), int))
    assert share == (0.25 if missed else 0.75)
