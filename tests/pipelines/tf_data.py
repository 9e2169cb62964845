"""tf.data datasets that are random only in the order of the examples."""

import keras
import numpy as np
import tensorflow as tf

from tests.pipelines.files import write_files
from tests.pipelines.pipeline import batches_of, count, pipeline

AUTOTUNE = tf.data.AUTOTUNE


def element(arrays):
    """One element for a step; just x if there is nothing else."""
    return keras.utils.pack_x_y_sample_weight(*keras.tree.lists_to_tuples(tuple(arrays)))


def examples(arrays):
    """The examples one by one, in order."""
    return tf.data.Dataset.from_tensor_slices(element(arrays))


def unchanged(*parts):
    """A map that does nothing."""
    return parts if len(parts) > 1 else parts[0]


@pipeline("tf.data, in order")
def in_order(arrays, batch_size, seed):
    return {"x": examples(arrays).batch(batch_size)}


@pipeline("tf.data, shuffle(seed)")
def shuffled(arrays, batch_size, seed):
    return {"x": examples(arrays).shuffle(count(arrays), seed=seed).batch(batch_size)}


@pipeline("tf.data, shuffle(seed) in a small buffer")
def small_buffer(arrays, batch_size, seed):
    return {"x": examples(arrays).shuffle(7, seed=seed).batch(batch_size)}


@pipeline("tf.data, two shuffles", length_is_known=False)
def two_shuffles(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed).batch(2)
    return {"x": data.shuffle(4, seed=seed + 1).unbatch().batch(batch_size)}


@pipeline("tf.data, shuffle(seed).cache().prefetch()")
def shuffle_before_cache(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed)
    return {"x": data.cache().batch(batch_size).prefetch(AUTOTUNE)}


@pipeline("tf.data, cache().shuffle(seed)")
def shuffle_after_cache(arrays, batch_size, seed):
    data = examples(arrays).cache().shuffle(count(arrays), seed=seed)
    return {"x": data.batch(batch_size)}


@pipeline("tf.data, shuffle(seed), parallel map, prefetch")
def parallel_map(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed)
    return {"x": data.map(unchanged, AUTOTUNE).batch(batch_size).prefetch(AUTOTUNE)}


@pipeline("tf.data, shuffle(seed, reshuffle_each_iteration=False)")
def shuffled_once(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed, reshuffle_each_iteration=False)
    return {"x": data.batch(batch_size)}


@pipeline("tf.data, shuffle() seeded by tf.random.set_seed alone")
def seeded_globally(arrays, batch_size, seed):
    return {"x": examples(arrays).shuffle(count(arrays)).batch(batch_size)}


@pipeline(
    "tf.data, shuffle(), no seed set",
    exact="TensorFlow draws another seed in each process",
    is_seeded=False,
)
def unseeded(arrays, batch_size, seed):
    return seeded_globally(arrays, batch_size, seed)


@pipeline("tf.data, shuffle(seed), length not known", length_is_known=False)
def length_not_known(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed).filter(lambda *parts: True)
    return {"x": data.batch(batch_size)}


@pipeline("tf.data, repeat(), steps_per_epoch that ends amid a pass")
def repeated(arrays, batch_size, seed):
    return {"x": examples(arrays).repeat().batch(batch_size), "steps_per_epoch": 4}


@pipeline("tf.data, shuffle(seed).repeat(), steps_per_epoch that ends amid a pass")
def shuffled_and_repeated(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed).repeat()
    return {"x": data.batch(batch_size).prefetch(AUTOTUNE), "steps_per_epoch": 4}


@pipeline("tf.data, repeat().shuffle(seed), steps_per_epoch that ends amid a pass")
def repeated_and_shuffled(arrays, batch_size, seed):
    data = examples(arrays).repeat().shuffle(7, seed=seed)
    return {"x": data.batch(batch_size), "steps_per_epoch": 4}


@pipeline("tf.data, shuffle(seed).repeat(2)")
def repeated_twice(arrays, batch_size, seed):
    data = examples(arrays).shuffle(count(arrays), seed=seed).repeat(2)
    return {"x": data.batch(batch_size)}


@pipeline("tf.data, sample_from_datasets(seed)")
def sampled(arrays, batch_size, seed):
    data, half = examples(arrays), count(arrays) // 2
    parts = [part.shuffle(half, seed=seed).repeat() for part in (data.take(half), data.skip(half))]
    mixed = tf.data.Dataset.sample_from_datasets(parts, weights=[0.25, 0.75], seed=seed)
    return {"x": mixed.batch(batch_size), "steps_per_epoch": 4}


@pipeline("tf.data, shuffle of files, interleave, shuffle", length_is_known=False)
def interleaved(arrays, batch_size, seed, *, deterministic=True):
    pattern, parse = write_files(element(arrays))
    files = tf.data.Dataset.list_files(pattern, shuffle=True, seed=seed)
    data = files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=2,
        num_parallel_calls=AUTOTUNE,
        deterministic=deterministic,
    )
    data = data.shuffle(7, seed=seed).map(parse, AUTOTUNE)
    return {"x": data.batch(batch_size).prefetch(AUTOTUNE)}


@pipeline(
    "tf.data, interleave with deterministic=False",
    exact="the order depends on which thread comes first",
    length_is_known=False,
)
def interleaved_as_it_comes(arrays, batch_size, seed):
    return interleaved(arrays, batch_size, seed, deterministic=False)


@pipeline("tf.data, shuffle(seed), validated on shuffled tf.data")
def validated(arrays, batch_size, seed):
    held_out = examples(arrays).shuffle(count(arrays), seed=seed + 1).batch(batch_size)
    return {**shuffled(arrays, batch_size, seed), "validation_data": held_out}


def from_orders(arrays, batch_size, make_order):
    """A dataset that requests an order of the examples for every pass."""
    signature = keras.tree.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), tuple(arrays)
    )

    def generate():
        yield from batches_of(arrays, batch_size, make_order())

    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return {"x": data.map(lambda *parts: element(parts))}


@pipeline("tf.data, from_generator", length_is_known=False)
def from_generator(arrays, batch_size, seed):
    order = np.random.default_rng(seed).permutation(count(arrays))
    return from_orders(arrays, batch_size, lambda: order)


@pipeline("tf.data, from_generator that draws from np.random", length_is_known=False)
def from_global_generator(arrays, batch_size, seed):
    return from_orders(arrays, batch_size, lambda: np.random.permutation(count(arrays)))


@pipeline("tf.data, from_generator that counts its passes", length_is_known=False)
def from_counting_generator(arrays, batch_size, seed):
    passes = iter(range(1000))

    def make_order():
        return np.random.default_rng([seed, next(passes)]).permutation(count(arrays))

    return from_orders(arrays, batch_size, make_order)


@pipeline(
    "tf.data, from_generator that draws from an unseeded default_rng()",
    exact="nobody can save the generator's state, and another process begins with another one",
    length_is_known=False,
)
def from_unseeded_generator(arrays, batch_size, seed):
    generator = np.random.default_rng()
    return from_orders(arrays, batch_size, lambda: generator.permutation(count(arrays)))
