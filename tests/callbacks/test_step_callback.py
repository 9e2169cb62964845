import doctest

from mnist_keras.callbacks import step_callback


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(step_callback).failed == 0
