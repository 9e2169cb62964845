"""The data of the programs: 24 examples, the same at each call."""

import numpy as np

EXAMPLES = 24


def random(seed):
    return np.random.default_rng(seed)


def images(channels=2, *, seed=0):
    """Float32 (24, 8, 8, channels) in [0, 1)."""
    return random(seed).random((EXAMPLES, 8, 8, channels), dtype="float32")


def vectors(width, *, seed=1):
    """Float32 (24, width), standard normal."""
    return random(seed).standard_normal((EXAMPLES, width), dtype="float32")


def classes(count, *, seed=2):
    """Integers (24,) below count."""
    return random(seed).integers(0, count, EXAMPLES)


def words(count, *, length=5, seed=3):
    """Integers (24, length) from 1 up to count; 0 is left for padding and masks."""
    return random(seed).integers(1, count, (EXAMPLES, length))


def one_hot(labels, count):
    """Float32 (24, count)."""
    return np.eye(count, dtype="float32")[labels]


def images_alone():
    return (images(),)


def labelled_images():
    """Images and their classes, of 3."""
    return images(), classes(3)


def two_domains():
    """Images of two kinds, unpaired."""
    return images(seed=4), images(seed=5)
