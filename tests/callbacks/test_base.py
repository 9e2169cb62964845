import doctest

from mnist_keras.callbacks import base


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(base).failed == 0
