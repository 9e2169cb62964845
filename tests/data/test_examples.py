import doctest

import numpy as np
import pytest

from mnist_keras.data import DatasetDescription, Examples, examples
from mnist_keras.data.sharded import Absent, Sharded
from mnist_keras.errors import DataError


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(examples).failed == 0


def test_slicing_does_not_read_images_in_files():
    parts = [Absent((4, 28, 28), np.uint8, "a file")] * 2
    part = Examples(Sharded(parts), np.zeros(8, np.uint8))[3:6]
    assert (len(part), part.images.shape) == (3, (3, 28, 28))


def test_a_slice_has_the_description_of_the_examples():
    described = DatasetDescription(image_shape=(32, 32, 3), classes=300)
    images, labels = np.zeros((2, 32, 32, 3), np.uint8), np.array([299, 0], np.int32)
    assert Examples(images, labels, description=described)[:1].description == described


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            (2, 28, 28),
            [0, 1],
            r"The images .* uint8 \(2, 28, 28\)\. Expected: uint8 \(n, 8, 8, 3\)",
        ),
        ((2, 8, 8, 3), [0, 4], r"A label is not a class\. Received: 4\. Expected: 0 to 3\.$"),
    ],
)
def test_arrays_that_differ_from_the_description_are_refused(images, labels, message):
    described = DatasetDescription(image_shape=(8, 8, 3), classes=4)
    with pytest.raises(DataError, match=message):
        Examples(np.zeros(images, np.uint8), np.array(labels, np.uint8), description=described)
