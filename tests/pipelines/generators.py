"""Python generators."""

import itertools

import numpy as np

from tests.pipelines.pipeline import batches_of, count, pipeline

# More than any training here uses.
PASSES = 4


def passes(arrays, batch_size, orders):
    """The batches of a pass for each order of the examples."""
    for order in orders:
        yield from batches_of(arrays, batch_size, order)


def orders_of(arrays, seed, numbers):
    """The order of each pass, a function of (seed, number of the pass)."""
    for number in numbers:
        yield np.random.default_rng([seed, number]).permutation(count(arrays))


def steps_of(arrays, batch_size):
    """The number of batches in a pass."""
    return -(-count(arrays) // batch_size)


@pipeline("generator, endless")
def endless(arrays, batch_size, seed):
    orders = orders_of(arrays, seed, itertools.count())
    return {
        "x": passes(arrays, batch_size, orders),
        "steps_per_epoch": steps_of(arrays, batch_size),
    }


@pipeline("generator, endless, steps_per_epoch that ends amid a pass")
def amid_a_pass(arrays, batch_size, seed):
    return {**endless(arrays, batch_size, seed), "steps_per_epoch": 4}


@pipeline("generator, as many batches as all epochs take")
def finite(arrays, batch_size, seed):
    orders = orders_of(arrays, seed, range(PASSES))
    return {**endless(arrays, batch_size, seed), "x": passes(arrays, batch_size, orders)}


@pipeline("generator, one pass, no steps_per_epoch", length_is_known=False)
def one_pass(arrays, batch_size, seed):
    return {"x": passes(arrays, batch_size, orders_of(arrays, seed, range(1)))}


@pipeline("generator, draws from np.random")
def global_generator(arrays, batch_size, seed):
    orders = (np.random.permutation(count(arrays)) for _ in itertools.count())
    return {**endless(arrays, batch_size, seed), "x": passes(arrays, batch_size, orders)}


@pipeline(
    "generator, draws from an unseeded default_rng()",
    exact="nobody can save the generator's state, and another process begins with another one",
)
def unseeded(arrays, batch_size, seed):
    generator = np.random.default_rng()
    orders = (generator.permutation(count(arrays)) for _ in itertools.count())
    return {**endless(arrays, batch_size, seed), "x": passes(arrays, batch_size, orders)}
