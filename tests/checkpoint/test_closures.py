import doctest

import keras
import tensorflow as tf

from mnist_keras.checkpoint import closures

GENERATOR = keras.random.SeedGenerator(1)


def draw():
    return keras.random.normal((3,), seed=GENERATOR)


def noisy():
    scale = tf.Variable(1.0)

    class Noisy(keras.Model):
        @tf.function
        def call(self, x):
            return (x + draw()) * scale

    return Noisy()


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(closures).failed == 0


def test_methods_and_the_functions_they_call_are_searched():
    found = dict(closures.referenced(noisy()))
    assert found["GENERATOR"] is GENERATOR
    assert isinstance(found["scale"], tf.Variable)
