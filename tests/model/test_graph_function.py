import doctest
import logging

import numpy as np
import pytest

from mnist_keras.model import graph_function


@pytest.fixture
def warnings():
    """The messages that TensorFlow logs meanwhile."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.mark.slow
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_no_warning_when_a_program_trains_many_models(make_model, warnings, run_eagerly):
    x, y = np.zeros((4, 28, 28), "float32"), np.zeros((4, 10), "float32")
    for _ in range(6):
        model = make_model(run_eagerly=run_eagerly)
        model.fit(x, y, epochs=1, verbose=0)
        model.fit(((x, y) for _ in range(2)), steps_per_epoch=2, verbose=0)
        model.evaluate(x, y, verbose=0)
    assert [message for message in warnings if "retracing" in message] == []


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(graph_function).failed == 0
