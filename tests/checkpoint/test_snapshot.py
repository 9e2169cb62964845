import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel, _keras
from mnist_keras.checkpoint.snapshot import Snapshot

X, Y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)


def built():
    model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"])
    model.own = tf.Variable([1.0, 2.0])
    model.fit(X, Y, batch_size=2, verbose=0)
    return model


def disorder(model):
    """Change everything that a snapshot puts back."""
    model.fit(X, Y, batch_size=2, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.own.assign([5.0, 6.0])
    random.random()
    np.random.random()


@pytest.mark.slow
def test_a_snapshot_puts_everything_back():
    model = built()
    before = [np.array(v) for v in (*model.variables, *model.optimizer.variables, model.own)]
    metrics = [np.array(v) for v in model.metrics_variables]
    function, steps = model.train_function, model.steps_trained
    generators = random.getstate(), np.random.get_state()[1].copy()
    snapshot = Snapshot(model)
    assert model.train_function is None
    snapshot.take()
    disorder(model)
    assert snapshot.new_variables() == []
    snapshot.restore()
    after = [*model.variables, *model.optimizer.variables, model.own]
    for variable, array in zip(after, before, strict=True):
        np.testing.assert_array_equal(variable, array)
    for variable, array in zip(model.metrics_variables, metrics, strict=True):
        np.testing.assert_array_equal(variable, array)
    assert (model.train_function, model.steps_trained) == (function, steps)
    assert model.test_function is None
    assert random.getstate() == generators[0]
    np.testing.assert_array_equal(np.random.get_state()[1], generators[1])


def test_a_variable_made_since_then_is_named():
    model = built()
    snapshot = Snapshot(model)
    snapshot.take()
    model.late = tf.Variable(3.0)
    assert snapshot.new_variables() == ["late"]
    snapshot.restore()
    assert model.late.numpy() == 3.0


def test_a_global_generator_made_since_then_is_dropped():
    before = _keras.global_generators()
    _keras.drop_global_generators(before)
    model = built()
    snapshot = Snapshot(model)
    snapshot.take()
    keras.random.normal((2,))
    assert len(_keras.global_generators()) == 1
    snapshot.restore()
    assert _keras.global_generators() == {}


def test_without_its_variables_only_the_functions_are_put_back():
    model = built()
    function = model.train_function
    snapshot = Snapshot(model)
    model.own.assign([7.0, 7.0])
    snapshot.restore()
    assert model.train_function is function
    assert model.own.numpy().tolist() == [7.0, 7.0]
