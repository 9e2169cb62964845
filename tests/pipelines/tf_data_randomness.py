"""tf.data datasets that change the examples at random."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from tests.pipelines.pipeline import count, has_float_inputs, pipeline
from tests.pipelines.tf_data import AUTOTUNE, element, examples

STATEFUL = "a stateful random op in the graph of the data keeps its state to itself"


def changed(parts, change):
    """An element of a dataset with ``change(x)`` applied to each array of its inputs."""
    x, *others = parts
    return element((keras.tree.map_structure(change, x), *others))


def with_stateless_noise(parts, seeds):
    """Noise that depends only on int32 (2,) seeds."""
    return changed(parts, lambda x: x + 0.1 * tf.random.stateless_normal(x.shape, seeds))


def tuples(arrays):
    """The examples as tuples, even a single x."""
    return examples(arrays).map(lambda *parts: parts)


def shuffled(arrays, seed):
    return tuples(arrays).shuffle(count(arrays), seed=seed)


@pipeline("tf.data, noise by a counter over all epochs", fits=has_float_inputs)
def counter(arrays, batch_size, seed):
    pairs = tf.data.Dataset.zip(shuffled(arrays, seed).repeat(), tf.data.Dataset.counter())

    def augment(parts, number):
        return with_stateless_noise(parts, tf.stack([tf.constant(seed, tf.int64), number]))

    data = pairs.map(augment, AUTOTUNE).batch(batch_size).prefetch(AUTOTUNE)
    return {"x": data, "steps_per_epoch": count(arrays) // batch_size}


@pipeline("tf.data, noise by a counter in each epoch", fits=has_float_inputs)
def counter_in_epoch(arrays, batch_size, seed):
    pairs = tf.data.Dataset.zip(shuffled(arrays, seed), tf.data.Dataset.counter())

    def augment(parts, number):
        return with_stateless_noise(parts, tf.stack([tf.constant(seed, tf.int64), number]))

    return {"x": pairs.map(augment, AUTOTUNE).batch(batch_size)}


@pipeline("tf.data, noise by Dataset.random(seed)", fits=has_float_inputs)
def random_numbers(arrays, batch_size, seed):
    numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    numbers = numbers.batch(2, drop_remainder=True)
    pairs = tf.data.Dataset.zip(shuffled(arrays, seed), numbers)
    return {"x": pairs.map(with_stateless_noise, AUTOTUNE).batch(batch_size).prefetch(AUTOTUNE)}


@pipeline("tf.data, noise by create_rng_state and each example's number", fits=has_float_inputs)
def folded_in(arrays, batch_size, seed):
    key = tf.random.experimental.create_rng_state(seed, alg="philox")[-2:]

    def augment(number, parts):
        return with_stateless_noise(parts, tf.random.fold_in(key, number))

    numbered = tuples(arrays).enumerate().shuffle(count(arrays), seed=seed)
    return {"x": numbered.map(augment, AUTOTUNE).batch(batch_size)}


@pipeline("tf.data, tf.random.normal in a map", exact=STATEFUL, fits=has_float_inputs)
def stateful(arrays, batch_size, seed):
    def augment(*parts):
        return changed(parts, lambda x: x + 0.1 * tf.random.normal(x.shape))

    return {"x": shuffled(arrays, seed).map(augment).batch(batch_size)}


@pipeline("tf.data, a tf.random.Generator in a map", fits=has_float_inputs)
def generator(arrays, batch_size, seed):
    source = tf.random.Generator.from_seed(seed)

    def augment(*parts):
        return changed(parts, lambda x: x + 0.1 * source.normal(x.shape))

    return {"x": shuffled(arrays, seed).map(augment).batch(batch_size)}


@pipeline("tf.data, a Keras layer that draws in a map", fits=has_float_inputs)
def layer(arrays, batch_size, seed):
    noise = keras.layers.GaussianNoise(0.1, seed=seed)

    def augment(*parts):
        return changed(parts, lambda x: noise(x, training=True))

    return {"x": shuffled(arrays, seed).map(augment).batch(batch_size)}


@pipeline(
    "tf.data, a Python counter in a map",
    exact="nobody can save what a Python function of the data remembers",
    fits=has_float_inputs,
)
def python_counter(arrays, batch_size, seed):
    numbers = itertools.count()

    def augment(*parts):
        number = tf.numpy_function(lambda: np.int64(next(numbers)), [], tf.int64)
        return with_stateless_noise(parts, tf.stack([tf.constant(seed, tf.int64), number]))

    return {"x": shuffled(arrays, seed).map(augment).batch(batch_size)}


@pipeline("tf.data, np.random in a map", fits=has_float_inputs)
def numpy_noise(arrays, batch_size, seed):
    def augment(*parts):
        scale = tf.numpy_function(lambda: np.float32(np.random.random()), [], tf.float32)
        return changed(parts, lambda x: x * tf.cast(0.5 + tf.reshape(scale, []), x.dtype))

    return {"x": shuffled(arrays, seed).map(augment).batch(batch_size)}
