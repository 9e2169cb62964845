"""``fit`` on data without an example ends as ``keras.Model`` ends it: no training that hangs."""

import contextlib
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, DivergenceGuard, Progress, StepLogger

MOST_SECONDS = 240
X, Y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)
SPEC = (tf.TensorSpec((None, 3)), tf.TensorSpec((None, 1)))


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, index):
        return X, Y


def nothing():
    yield from ()


def sliced(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


def filtered():
    return sliced(X, Y).filter(lambda x, y: x[0] > 9).batch(2)


# name: how to make (x, y or None)
EMPTY = {
    "arrays": lambda: (X[:0], Y[:0]),
    "tensors": lambda: (tf.constant(X[:0]), tf.constant(Y[:0])),
    "a tf.data set": lambda: (sliced(X[:0], Y[:0]).batch(2), None),
    "a tf.data set, filtered": lambda: (filtered(), None),
    "a tf.data set of unknown length": lambda: (
        tf.data.Dataset.from_generator(nothing, output_signature=SPEC),
        None,
    ),
    "an endless tf.data set of nothing": lambda: (sliced(X[:0], Y[:0]).batch(2).repeat(), None),
    "a PyDataset": lambda: (Sequence(), None),
    "a generator": lambda: (nothing(), None),
}
# name: (arguments of compile, arguments of fit, the callbacks of this package)
FITS = {
    "as it is": ({}, {}, False),
    "with a number of steps": ({}, {"steps_per_epoch": 3}, False),
    "with callbacks": ({}, {}, True),
    "eager": ({"run_eagerly": True}, {}, False),
}


@contextlib.contextmanager
def bounded_time():
    def give_up(signum, frame):
        raise TimeoutError(f"no end after {MOST_SECONDS} seconds")

    former = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def compiled(kind, **arguments):
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model = network if kind is keras.Model else kind(network)
    model.compile(optimizer="sgd", loss="mse", **arguments)
    return model


def outcome(model, *data, **arguments):
    """The history and its epochs, or the error."""
    with bounded_time():
        try:
            history = model.fit(*data, epochs=2, verbose=0, **arguments)
        except Exception as error:
            return type(error), str(error)
    return history.history, history.epoch


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("data", EMPTY)
def test_training_on_nothing_ends_as_keras_ends_it(data, fit, tmp_path):
    compile_arguments, arguments, has_callbacks = FITS[fit]
    found, expected = (
        outcome(
            compiled(kind, **compile_arguments),
            *EMPTY[data](),
            callbacks=of_this_package(tmp_path) if has_callbacks and kind is TapeModel else [],
            **arguments,
        )
        for kind in (TapeModel, keras.Model)
    )
    assert found == expected


def of_this_package(directory):
    checkpoint = Checkpoint(directory / "checkpoints", every_steps=1, notice=lambda line: None)
    return [StepLogger(directory), DivergenceGuard(), Progress(), checkpoint]


@pytest.mark.slow
@pytest.mark.parametrize("data", EMPTY)
def test_validation_on_nothing_ends_as_keras_ends_it(data):
    x, y = EMPTY[data]()
    validation = x if y is None else (x, y)
    found, expected = (
        outcome(compiled(kind), X, Y, validation_data=validation)
        for kind in (TapeModel, keras.Model)
    )
    assert found == expected
