import doctest

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.checkpoint import model_variables
from mnist_keras.checkpoint.model_variables import groups, optimizers


class Average:
    """A program's own object that holds variables."""

    def __init__(self):
        self.values = [tf.Variable(1.0), tf.Variable(2.0)]


class Everything(keras.Model):
    """Holds variables in every way that a program may."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.queue = tf.Variable(tf.zeros([3]))
        self.rng = tf.random.Generator.from_seed(1)
        self.seeds = keras.random.SeedGenerator(1)
        self.hidden = {"teacher": (keras.layers.Dense(2),)}
        self.by_name = {"d": keras.optimizers.Adam()}
        self.in_list = [keras.optimizers.SGD(momentum=0.9)]
        self.scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
        self.average = Average()
        self.tracker = keras.metrics.Mean(name="tracker")
        self.alias = self.queue

    def call(self, x):
        return self.dense(x)


def built():
    model = Everything()
    model(np.ones((1, 3), np.float32))
    model.hidden["teacher"][0].build((None, 3))
    for optimizer in (model.by_name["d"], model.in_list[0], model.scaled):
        optimizer.build(model.dense.trainable_variables)
    model.compile(optimizer="rmsprop")
    model.optimizer.build(model.trainable_variables)
    return model


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(model_variables).failed == 0


def test_every_variable_is_found_once_by_its_attribute():
    model = built()
    others = dict(groups(model)["others"])
    for name in ("queue", "average/values/0", "average/values/1"):
        assert name in others
    assert "alias" not in others
    prefixes = {path.split("/")[0] for path in others}
    assert prefixes >= {"rng", "by_name", "in_list", "scaled", "queue", "average"}
    assert any(path.startswith("by_name/d/") and "velocity" in path for path in others)
    every = [v for members in groups(model).values() for _, v in members]
    own = [id(v.value) if isinstance(v, keras.Variable) else id(v) for v in every]
    assert len(set(own)) == len(own)


def test_variables_that_keras_lists_stay_in_their_groups():
    model = built()
    found = groups(model)
    assert [v for _, v in found["model"]] == model.variables
    assert [v for _, v in found["optimizer"]] == model.optimizer.variables
    assert [v for _, v in found["metrics"]] == model.metrics_variables


def test_global_generators_are_included_once_they_exist():
    keras.utils.clear_session(free_memory=False)
    model = built()
    keras.random.normal((1,))
    assert "keras.random without a seed" in dict(groups(model)["global"])


def test_each_optimizer_is_found_by_its_attribute():
    assert set(optimizers(built())) == {"optimizer", "by_name/d", "in_list/0", "scaled"}


def test_functions_and_classes_in_attributes_are_not_searched():
    model = built()
    before = [path for path, _ in groups(model)["others"]]
    variable = tf.Variable(1.0)
    model.function = lambda: variable
    model.kind = Average
    assert [path for path, _ in groups(model)["others"]] == before
