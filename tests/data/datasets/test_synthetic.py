"""The built-in digits are the same everywhere, look like MNIST's and are useful to train on."""

import doctest
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_keras.data import load
from mnist_keras.data.datasets import synthetic
from mnist_keras.data.datasets.synthetic import synthetic_digits
from mnist_keras.errors import UsageError


@pytest.fixture(scope="module")
def drawn():
    """(images, labels) of 5,000 digits."""
    return synthetic_digits(5000, seed=0)


def sha256_of(arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def centres_of_mass(images):
    """(n, 2): row and column; 0 is the middle of the first pixel."""
    ink = images.astype(float)
    mass = ink.sum((1, 2))
    return np.stack([ink.sum(axis) @ np.arange(28) / mass for axis in (2, 1)], 1)


def ink_sides(images):
    """(n, 2): height and width in pixels of the bounding box of the ink."""
    return np.stack(
        [[np.ptp(np.flatnonzero(image.any(axis))) + 1 for axis in (1, 0)] for image in images]
    )


# The output


@pytest.mark.parametrize("count", [0, 1, 501, np.int64(3)])
def test_the_requested_number_of_digits_is_drawn(count):
    images, labels = synthetic_digits(count, seed=0)
    assert (images.shape, images.dtype) == ((count, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((count,), np.uint8)


def test_the_ten_digits_are_equally_frequent_and_in_random_order(drawn):
    _, labels = drawn
    assert np.bincount(labels).tolist() == [500] * 10
    pairs = np.zeros((10, 10), int)
    np.add.at(pairs, (labels[:-1], labels[1:]), 1)
    assert pairs.min() > 20
    assert pairs.max() < 90


@pytest.mark.slow
def test_all_digits_differ_within_and_across_seeds():
    images = [synthetic_digits(1000, seed=seed)[0] for seed in (0, 1, 2**32, 2**64)]
    assert len(np.unique(np.concatenate(images).reshape(4000, -1), axis=0)) == 4000


def test_a_smaller_count_is_the_beginning_of_a_larger_one(drawn):
    for count in (1, 499, 500, 501, 1234):
        fewer = synthetic_digits(count, seed=0)
        assert sha256_of(fewer) == sha256_of(array[:count] for array in drawn)


def test_progress_receives_the_number_of_drawn_digits():
    told = []
    synthetic_digits(1001, seed=0, progress=told.append)
    assert told == [500, 1000, 1001]
    synthetic_digits(0, seed=0, progress=told.append)
    assert len(told) == 3


@pytest.mark.parametrize("name", ["count", "seed"])
@pytest.mark.parametrize("value", [-1, 1.0, "3", None])
def test_an_invalid_count_or_seed_is_refused(name, value):
    with pytest.raises(UsageError) as caught:
        synthetic_digits(**{"count": 1, "seed": 0, name: value})
    assert str(caught.value) == (
        f"The {name} of synthetic digits is wrong. Received: {value!r}. "
        "Expected: an integer, 0 or more."
    )


# The same everywhere

# A change of any pixel needs a new VERSION, so that no cache mixes old and new digits.
PINNED = {1: "7ab7233d130644ad570114b43556a2b344e196d24749b0dd666afa3ea45fc554"}


def test_the_pixels_of_this_version_are_pinned(drawn):
    assert {synthetic.VERSION: sha256_of(drawn)} == PINNED


def test_the_pixels_do_not_depend_on_cpu_vector_instructions():
    program = (
        "import sys, hashlib; from mnist_keras.data.datasets.synthetic import synthetic_digits; "
        "print(hashlib.sha256(synthetic_digits(500, seed=0)[0].tobytes()).hexdigest())"
    )
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(synthetic.__file__).parents[3]),
        "NPY_DISABLE_CPU_FEATURES": " ".join(extensions),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == sha256_of([synthetic_digits(500, seed=0)[0]])


# MNIST's framing and ink


def test_the_ink_just_fits_a_box_of_20_pixels(drawn):
    longer = ink_sides(drawn[0]).max(1)
    assert longer.max() == 20
    assert np.mean(longer == 20) > 0.99


def test_the_centre_of_mass_is_near_the_middle(drawn):
    away = np.abs(centres_of_mass(drawn[0]) - 14).max(1)
    assert np.mean(away <= 0.5) > 0.995  # the box of the others touches the edge of the image
    assert away.max() < 1.5


def test_the_ink_has_all_shades_from_black_to_white(drawn):
    images, _ = drawn
    assert len(np.unique(images)) == 256
    assert images.max((1, 2)).min() > 128


@pytest.mark.slow
def test_the_statistics_match_the_real_mnist(drawn, real_mnist):
    images, labels = drawn
    real = load("mnist", data_dir=real_mnist)[0][:10000]

    def ratio(statistic):
        return statistic(images) / statistic(real.images)

    assert ratio(np.mean) == pytest.approx(1, abs=0.05)
    assert ratio(np.std) == pytest.approx(1, abs=0.05)
    assert ratio(lambda pixels: pixels.mean((1, 2)).std()) == pytest.approx(1, abs=0.1)
    assert ratio(lambda pixels: np.mean(pixels > 0)) == pytest.approx(1, abs=0.05)
    assert ratio(lambda pixels: np.mean(pixels > 250)) == pytest.approx(1, abs=0.1)
    sides, real_sides = ink_sides(images), ink_sides(real.images)
    assert sides.mean(0) / real_sides.mean(0) == pytest.approx([1, 1], abs=0.05)
    assert sides.std(0) / real_sides.std(0) == pytest.approx([1, 1], abs=0.1)
    centres = centres_of_mass(images).mean(0) - centres_of_mass(real.images).mean(0)
    assert centres == pytest.approx([0, 0], abs=0.05)
    for digit in range(10):
        mean = images[labels == digit].mean() / real.images[real.labels == digit].mean()
        assert mean == pytest.approx(1, abs=0.15), digit


# Useful to train on


def test_a_classifier_of_these_digits_reads_the_real_mnist(drawn, real_mnist):
    def unit(images):
        flat = images.reshape(len(images), -1).astype(np.float32)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    images, labels = drawn
    _, real = load("mnist", data_dir=real_mnist)
    nearest = np.argmax(unit(real.images[:3000]) @ unit(images).T, axis=1)
    right = labels[nearest] == real.labels[:3000]
    assert right.mean() > 0.8
    for digit in range(10):
        assert right[real.labels[:3000] == digit].mean() > 0.7, digit


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(synthetic) == (0, 2)
