import doctest

from mnist_keras.console import exit_signals


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(exit_signals).failed == 0
