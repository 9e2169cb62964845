import doctest

from mnist_keras.callbacks import sinks
from mnist_keras.callbacks.sinks import Sink, sink


def test_every_method_of_a_sink_has_a_default():
    own = Sink()
    own.begin(0)
    own.write(0, {"loss": 1.0})
    own.flush()
    own.close()


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(sink).failed == doctest.testmod(sinks).failed == 0
