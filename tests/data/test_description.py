import doctest

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.data import DatasetDescription, description
from mnist_keras.errors import UsageError


def test_the_default_describes_mnist():
    mnist = DatasetDescription()
    assert (mnist.image_shape, mnist.classes, mnist.max_pixel) == ((28, 28), 10, 255)
    assert (mnist.names, mnist.stored_form) == (tuple("0123456789"), "uint8 (n, 28, 28)")


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.int32)])
def test_labels_are_stored_in_the_smallest_type(classes, dtype):
    assert DatasetDescription(classes=classes).label_dtype == dtype


def test_arrays_and_tensors_are_preprocessed_alike():
    images = np.arange(256, dtype=np.uint8)
    for max_pixel in (255, 100):
        described = DatasetDescription(max_pixel=max_pixel)
        found, tensor = described.preprocess(images), described.preprocess(tf.constant(images))
        assert (type(found), found.dtype, tensor.dtype) == (np.ndarray, np.float32, tf.float32)
        np.testing.assert_array_equal(found, tensor)
        np.testing.assert_array_equal(found, images.astype(np.float32) / np.float32(max_pixel))


def test_a_wrong_number_of_names_is_refused():
    with pytest.raises(UsageError) as caught:
        DatasetDescription(class_names=("cat", "dog"))
    assert str(caught.value) == (
        "the names do not match the classes. Received: 2 names, 10 classes. "
        "Expected: one name for each class."
    )


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(description).failed == 0
