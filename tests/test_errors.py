import doctest

from mnist_keras import errors


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(errors).failed == 0
