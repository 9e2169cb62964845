"""Arrays that Keras splits into batches."""

import keras
import numpy as np
import tensorflow as tf

from tests.pipelines import tf_data
from tests.pipelines.pipeline import count, has_classes, has_labels, pipeline, rows


def named(arrays):
    """The arrays as arguments of fit."""
    return dict(zip(("x", "y", "sample_weight"), arrays, strict=False))


@pipeline("arrays, shuffled by Keras")
def shuffled(arrays, batch_size, seed):
    return {**named(arrays), "batch_size": batch_size}


@pipeline("arrays, shuffled by Keras, no seed set", is_seeded=False)
def unseeded(arrays, batch_size, seed):
    return shuffled(arrays, batch_size, seed)


@pipeline("arrays, in order")
def in_order(arrays, batch_size, seed):
    return {**shuffled(arrays, batch_size, seed), "shuffle": False}


@pipeline(
    "arrays, shuffled within batches",
    exact="Keras draws with tf.random.shuffle in the graph of the data",
)
def shuffled_in_batches(arrays, batch_size, seed):
    return {**shuffled(arrays, batch_size, seed), "shuffle": "batch"}


@pipeline("arrays, a short last batch")
def short_last_batch(arrays, batch_size, seed):
    return shuffled(rows(arrays, slice(count(arrays) - 1)), batch_size, seed)


@pipeline("arrays, steps_per_epoch that ends amid a pass")
def amid_a_pass(arrays, batch_size, seed):
    return {**shuffled(arrays, batch_size, seed), "steps_per_epoch": 4}


@pipeline("arrays, initial_epoch=1")
def initial_epoch(arrays, batch_size, seed):
    return {**shuffled(arrays, batch_size, seed), "initial_epoch": 1}


@pipeline("arrays, validation_split", fits=has_labels)
def validation_split(arrays, batch_size, seed):
    return {**shuffled(arrays, batch_size, seed), "validation_split": 0.25}


@pipeline("arrays, validated on shuffled tf.data", fits=has_labels)
def validated_on_a_data_set(arrays, batch_size, seed):
    held_out = tf_data.examples(arrays).shuffle(count(arrays), seed=seed).batch(batch_size)
    return {**shuffled(arrays, batch_size, seed), "validation_data": held_out}


@pipeline("arrays, validated every second epoch", fits=has_labels)
def validated_seldom(arrays, batch_size, seed):
    return {
        **shuffled(arrays, batch_size, seed),
        "validation_data": rows(arrays, slice(8)),
        "validation_freq": 2,
    }


@pipeline("arrays, class_weight", fits=has_classes)
def class_weight(arrays, batch_size, seed):
    weights = {int(label): 1 + 0.5 * int(label) for label in np.unique(arrays[1])}
    return {**shuffled(arrays, batch_size, seed), "class_weight": weights}


@pipeline("arrays, sample_weight", fits=has_labels)
def sample_weight(arrays, batch_size, seed):
    weights = keras.tree.map_structure(
        lambda y: np.linspace(0.5, 1.5, len(y), dtype="float32"), arrays[1]
    )
    return shuffled((*arrays, weights), batch_size, seed)


@pipeline("tensors, shuffled by Keras")
def tensors(arrays, batch_size, seed):
    arrays = keras.tree.map_structure(tf.convert_to_tensor, tuple(arrays))
    return shuffled(arrays, batch_size, seed)
