import doctest

import numpy as np

from mnist_keras.data import Examples, examples
from mnist_keras.data.sharded import Absent, Sharded


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(examples).failed == 0


def test_images_in_files_are_not_read():
    parts = [Absent((4, 28, 28), np.uint8, "a file")] * 2
    part = Examples(Sharded(parts), np.zeros(8, np.uint8))[3:6]
    assert (len(part), part.images.shape) == (3, (3, 28, 28))
