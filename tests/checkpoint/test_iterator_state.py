import doctest

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.checkpoint import fingerprint, iterator_state, nested
from mnist_keras.checkpoint.iterator_state import needs_state, obstacles, restore, save


@pytest.mark.parametrize("module", [iterator_state, fingerprint, nested])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def numbers():
    return tf.data.Dataset.range(12)


def drawn(iterator):
    return [np.asarray(batch).tolist() for batch in iterator]


@pytest.mark.parametrize(
    "make",
    [
        lambda: numbers().shuffle(12, seed=1).batch(3),
        lambda: numbers().shuffle(12, seed=1).repeat(2).batch(3).prefetch(2),
        lambda: numbers().cache().shuffle(5, seed=1).map(lambda x: x, num_parallel_calls=2),
    ],
)
def test_a_restored_iterator_draws_the_remaining_elements(make):
    iterator, another = iter(make()), iter(make())
    for _ in range(3):
        next(iterator)
    state = save(iterator)
    restore(another, state)
    assert drawn(another) == drawn(iterator)


def test_saving_an_unsupported_iterator_returns_none():
    assert save(iter(numbers().map(lambda x: tf.random.uniform([])))) is None


def draws_inside(**options):
    return numbers().map(lambda x: tf.random.uniform([], seed=1), **options)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: numbers().shuffle(5, seed=1), []),
        (lambda: numbers().shuffle(5), ["tf.data shuffles without a seed; give it a seed"]),
        (
            lambda: numbers().interleave(lambda x: numbers().shuffle(5)),
            ["tf.data shuffles without a seed; give it a seed"],
        ),
        (draws_inside, []),
        (
            lambda: draws_inside(num_parallel_calls=2),
            [
                "tf.data uses RandomUniform in a parallel map, whose order varies; leave out "
                "num_parallel_calls there, or use tf.random.stateless operations"
            ],
        ),
        (
            lambda: numbers().map(lambda x: tf.random.normal([])),
            [
                "tf.data uses RandomStandardNormal in a map without a seed; give it a seed, or use "
                "tf.random.stateless operations"
            ],
        ),
    ],
)
def test_unseeded_randomness_is_reported(make, expected, monkeypatch):
    from tensorflow.python.eager import context

    monkeypatch.setattr(context.context(), "_seed", None)
    assert obstacles(make()) == expected


def test_a_shuffle_before_repeat_cache_or_shuffle_needs_its_state():
    shuffled = numbers().shuffle(5, seed=1)
    assert not needs_state(shuffled.batch(2).prefetch(1))
    for dataset in (shuffled.repeat(2), shuffled.cache(), shuffled.batch(2).shuffle(3, seed=2)):
        assert needs_state(dataset)


def test_fingerprints_depend_on_values_order_and_dtype():
    one, two = tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])
    batches = [
        (one, two),
        (two, one),
        (one, two + 1),
        (one, tf.cast(two, tf.float64)),
        (one,),
        {"a": one},
    ]
    found = [int(fingerprint.fingerprint(batch)) for batch in batches]
    assert len(set(found[:4])) == 4
    assert found == [int(tf.function(fingerprint.fingerprint)(batch)) for batch in batches]
