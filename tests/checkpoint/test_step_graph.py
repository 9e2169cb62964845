import doctest

from mnist_keras.checkpoint import step_graph


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(step_graph).failed == 0
