"""State that no attribute of the model reaches is saved, or named where it cannot be."""

import contextlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from tests import forks
from tests.callbacks.killing import Kill, Killed
from tests.command_line import environment
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


def seed_generator():
    seeds = keras.random.SeedGenerator(1)
    return lambda x: keras.random.normal(tf.shape(x), seed=seeds)


def generator():
    numbers = tf.random.Generator.from_seed(1)
    return lambda x: numbers.normal(tf.shape(x))


def counter():
    count = tf.Variable(0.0, trainable=False)
    return lambda x: x * count.assign_add(1.0)


def counter_in_a_function():
    count = tf.Variable(0.0, trainable=False)
    inner = tf.function(lambda: count.assign_add(1.0))
    return lambda x: x * inner()


def counter_in_a_branch():
    count = tf.Variable(0.0, trainable=False)
    return lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x * count.assign_add(1.0), lambda: x)


def layer():
    dropout = keras.layers.Dropout(0.5, seed=1)
    return lambda x: dropout(x, training=True)


SAVED = [seed_generator, generator, counter, counter_in_a_function, counter_in_a_branch, layer]


def an_iterator():
    others = iter(tf.data.Dataset.range(1000))
    return lambda x: x * tf.cast(next(others), tf.float32)


def a_python_function():
    count = iter(range(1000))

    def scale(x):
        return x * np.float32(next(count))

    return lambda x: tf.ensure_shape(tf.numpy_function(scale, [x], tf.float32), x.shape)


def a_table():
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)

    def change(x):
        with tf.control_dependencies([table.insert(tf.constant(0, tf.int64), tf.reduce_sum(x))]):
            return x + tf.ensure_shape(table.lookup(tf.constant(0, tf.int64)), [])

    return change


NAMED = {
    an_iterator: "draws from an iterator (",
    a_python_function: "calls a Python function (PyFunc ",
    a_table: "changes a lookup table (LookupTableInsertV2 ",
}


def model_with(change, *, run_eagerly=False):
    """A model whose step changes its inputs by a function that no attribute holds."""

    class Model(TapeModel):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x, training=False):
            return self.dense(x + change(x)) if training else self.dense(x)

    model = Model()
    optimizer = keras.optimizers.Adam()
    model.compile(optimizer, "mse", steps_per_execution=3, run_eagerly=run_eagerly)
    return model


def train(make, directory, *, callbacks=(), **options):
    """A process's part of a training: (weights, what was said)."""
    keras.utils.set_random_seed(0)
    said = []
    model = model_with(make(), **options)
    checkpoint = Checkpoint(directory, every_steps=4, notice=said.append)
    with contextlib.suppress(Killed):
        callbacks = [checkpoint, *callbacks]
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    inexact = [line for line in said if line.startswith("resume is not exact: ")]
    assert checkpoint.is_exact == (not inexact)
    return model.get_weights(), inexact


@pytest.mark.parametrize("run_eagerly", [False, True], ids=["graph", "eager"])
@pytest.mark.parametrize("make", SAVED)
def test_state_in_a_closure_resumes_to_the_same_bits(make, run_eagerly, tmp_path):
    options = {"run_eagerly": run_eagerly}
    expected, said = train(make, tmp_path / "whole", **options)
    assert said == []
    train(make, tmp_path / "killed", callbacks=[Kill(9)], **options)
    found, said = train(make, tmp_path / "killed", **options)
    assert said == []
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("make", NAMED)
def test_state_that_cannot_be_saved_is_named(make, tmp_path):
    _, (line,) = train(make, tmp_path)
    assert NAMED[make] in line


def test_a_python_function_without_state_is_not_named(tmp_path):
    def pure():
        def double(x):
            return np.float32(2) * x

        return lambda x: tf.ensure_shape(
            tf.numpy_function(double, [x], tf.float32, stateful=False), x.shape
        )

    assert train(pure, tmp_path)[1] == []


def test_a_python_number_that_an_eager_step_changes_is_named(tmp_path):
    class Counting(TapeModel):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.scale, self.constant = 1.0, 2.0

        def call(self, x):
            self.scale *= 0.5
            return self.dense(x * self.scale * self.constant)

    said = []
    model = Counting()
    model.compile("sgd", "mse", run_eagerly=True)
    checkpoint = Checkpoint(tmp_path, notice=said.append)
    model.fit(X, Y, batch_size=4, verbose=0, callbacks=[checkpoint])
    assert said == [
        "resume is not exact: the attribute scale of the model changes during training and is not "
        "saved; use a tf.Variable."
    ]


REPLICAS = """
import tensorflow as tf
from tests.callbacks.test_hidden_state import X, Y, model_with
from mnist_keras.callbacks import Checkpoint

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    count = tf.Variable(
        0.0, trainable=False, aggregation=tf.VariableAggregation.MEAN, name="count"
    )
    model = model_with(lambda x: x * count.assign_add(1.0))
checkpoint = Checkpoint({directory!r}, notice=print)
model.fit(X, Y, batch_size=4, verbose=0, callbacks=[checkpoint])
"""


def test_on_replicas_a_variable_in_a_closure_is_named(tmp_path):
    program = REPLICAS.format(directory=str(tmp_path))
    done = forks.run([sys.executable, "-c", program], cwd=ROOT, env=environment(), timeout=300)
    assert done.stdout.splitlines() == [
        "resume is not exact: the training step uses the variable count, which only a closure or "
        "a global name holds; hold it in an attribute of the model."
    ], done.stderr
