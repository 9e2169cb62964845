"""Digits that look handwritten, drawn from strokes: the data set that is there without any file.

A digit begins as one of the forms in ``mnist_keras.data.datasets.glyphs``. Its points are jittered,
the form is bent, stretched, slanted and rotated, a pen of some width is drawn along it, and the ink
is framed as MNIST's is.

The pixels are the same everywhere because only sums, products, quotients and square roots touch a
value, one array operation at a time: IEEE 754 fixes their last bit. It fixes that of no
exponential, sine, power or long sum, so that there are none here.
"""

import math
import operator
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mnist_keras.data.datasets.glyphs import SAMPLES, splines
from mnist_keras.errors import UsageError

VERSION = 1  # of the pixels: the cache keeps each version apart

_FIELD_PIXELS, _BOX_PIXELS = 28, 20  # the image, and the box in it that MNIST's ink just fits
_BLOCK_DIGITS = 500  # drawn at once: enough to amortise NumPy's calls, and few enough for a cache

# How hands differ, as standard deviations: chosen to give the ink's width, height, slant and mass
# the spread that they have in MNIST's training images.
_JITTER_GLYPHS = 0.055  # of each point, in x and in y
_BEND = 0.33  # what moves x, and what moves y, per x², xy and y², all in glyphs
_TWIST = 0.25  # the same per x³, x²y, xy² and y³
_STRETCH = 0.2  # of the width
_SLANT_MEAN, _SLANT = 0.12, 0.28  # to the right per unit of height
_TURN = 0.12  # radians, nearly
_RADIUS_MEAN_PIXELS, _RADIUS_PIXELS, _RADIUS_MIN_PIXELS = 1.25, 0.38, 0.55  # of the pen
_RADIUS_SKEW_PIXELS = 0.04  # felt pens are further from the mean than fine ones
_PRESSURE = 0.08  # of the radius, from the first to the last sample and from there to the middle
_EDGE_MEAN, _EDGE = 0.9, 0.15  # ink lost per pixel away from the line: how sharp the scan is


def synthetic_digits(
    count: int, *, seed: int, progress: Callable[[int], object] | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draws handwriting-like digits, framed as MNIST's are.

    As in MNIST the ink just fits a box of 20x20 pixels, shades of grey smooth its edges, and its
    centre of mass lies within half a pixel of the middle pixel (14, 14), counted from 0, unless the
    box would leave the image. The ten digits are equally frequent and in random order. The cnn of
    `mnist_keras.app.networks`, trained on 60,000 of them alone, reads 97 % of MNIST's test set.

    For as long as VERSION stays, the same seed gives the same bytes on every platform whose
    arithmetic is IEEE 754 and with every NumPy: of it nothing is used but PCG64's integers, which
    it promises to keep, and exactly rounded operations. The digits of a smaller count are the first
    of a larger one.

    Args:
        count: how many digits.
        seed: an integer, 0 or more; each has digits of its own.
        progress: called with the number of digits drawn so far, last of all with ``count``.

    Returns:
        images, uint8 (count, 28, 28), ink up to 255 on 0, and labels, uint8 (count,), 0 to 9.

    Raises:
        UsageError: count or seed is negative or no integer.

    Source of the framing: http://yann.lecun.com/exdb/mnist.

    >>> images, labels = synthetic_digits(3, seed=0)
    >>> images.shape, images.dtype, labels
    ((3, 28, 28), dtype('uint8'), array([9, 7, 9], dtype=uint8))
    """
    count, seed = _not_negative("count", count), _not_negative("seed", seed)
    images = np.empty((count, _FIELD_PIXELS, _FIELD_PIXELS), np.uint8)
    labels = np.empty(count, np.uint8)
    for block, start in enumerate(range(0, count, _BLOCK_DIGITS)):
        stop = min(start + _BLOCK_DIGITS, count)
        block_images, block_labels = _draw_block(seed, block)
        images[start:stop] = block_images[: stop - start]
        labels[start:stop] = block_labels[: stop - start]
        if progress is not None:
            progress(stop)
    return images, labels


def _not_negative(name, value):
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise UsageError(
            f"The {name} of synthetic digits is wrong. Received: {value!r}. "
            "Expected: an integer, 0 or more."
        )
    return number


class _Chance:
    """The random numbers of one block, made of the raw integers of PCG64.

    NumPy promises that those stay the same, but not what its Generator makes of them (NEP 19).
    """

    def __init__(self, seed, block):
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,)))

    def uniform(self, *shape):
        """Float64 in [0, 1)."""
        integers = self._bits.random_raw(math.prod(shape)).reshape(shape)
        return (integers >> np.uint64(11)) * 2.0**-53

    def bell(self, *shape):
        """Float32 in (-3, 3), nearly normal, with mean 0 and standard deviation 1."""
        first, second, third = self.uniform(3, *shape)
        return (2 * (first + second + third) - 3).astype(np.float32)


def _draw_block(seed, block):
    chance = _Chance(seed, block)
    digits = np.argsort(chance.uniform(_BLOCK_DIGITS), kind="stable") % 10
    x, y = _deform(chance, *_write(chance, digits))
    radius = _pen_radius(chance, len(digits))
    x, y = _fit_to_box(x, y, radius)
    edge = _EDGE_MEAN + _EDGE * chance.bell(len(digits), 1, 1)
    return _frame(_ink(x, y, radius, edge)), digits


def _write(chance, digits):
    """The path of each digit, x and y, (n, SAMPLES) each, in glyphs from the glyph's middle."""
    forms = splines()
    form = forms.choose(digits, chance.uniform(len(digits)))
    controls = forms.controls[form]
    controls = controls + _JITTER_GLYPHS * chance.bell(*controls.shape)
    digit = np.arange(len(digits))[:, None]
    path = np.zeros((len(digits), SAMPLES, 2), np.float32)
    for neighbours, blends in zip(forms.neighbours, forms.blends, strict=True):
        path += blends[form][:, :, None] * controls[digit, neighbours[form]]
    path -= np.float32(0.5)
    return path[:, :, 0], path[:, :, 1]


def _deform(chance, x, y):
    """Elastic, by a random polynomial of the third degree, and then linear."""
    terms = [(_BEND, term) for term in (x * x, x * y, y * y)]
    terms += [(_TWIST, term) for term in (x * x * x, x * x * y, x * y * y, y * y * y)]
    for scale, term in terms:
        to_x, to_y = scale * chance.bell(2, len(x), 1)
        x, y = x + to_x * term, y + to_y * term
    stretch, slant, turn = chance.bell(3, len(x), 1)
    x = x * (1 + _STRETCH * stretch) - (_SLANT_MEAN + _SLANT * slant) * y
    half = (_TURN / 2) * turn  # the tangent of half the angle makes a rotation without a sine
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    return cosine * x - sine * y, sine * x + cosine * y


def _pen_radius(chance, count):
    """The radius of the line in pixels, (count, SAMPLES)."""
    width, rise, bulge = chance.bell(3, count, 1)
    radius = _RADIUS_MEAN_PIXELS + _RADIUS_PIXELS * width + _RADIUS_SKEW_PIXELS * width * width
    along = np.arange(1 - SAMPLES, SAMPLES, 2, dtype=np.float32) / (SAMPLES - 1)
    pressure = 1 + _PRESSURE * (rise * along + bulge * (along * along - np.float32(1 / 3)))
    return np.maximum(radius, _RADIUS_MIN_PIXELS) * pressure


def _fit_to_box(x, y, radius):
    """The path in pixels of the box: its longer side, the line's width included, fills it."""
    low_x, high_x = x.min(1, keepdims=True), x.max(1, keepdims=True)
    low_y, high_y = y.min(1, keepdims=True), y.max(1, keepdims=True)
    room = _BOX_PIXELS - 2 * radius.max(1, keepdims=True)
    scale = room / np.maximum(high_x - low_x, high_y - low_y)
    middle = np.float32(_BOX_PIXELS / 2)
    return (
        (x - (low_x + high_x) / 2) * scale + middle,
        (y - (low_y + high_y) / 2) * scale + middle,
    )


def _ink(x, y, radius, edge):
    """Float32 (n, 20, 20) in [0, 1]: half at the line's edge, from where it falls off linearly."""
    centre = np.arange(_BOX_PIXELS, dtype=np.float32) + np.float32(0.5)
    # The power of a point, its squared distance less the squared radius, picks the nearest disc
    # without a root for each of the samples.
    nearest = np.full((len(x), _BOX_PIXELS, _BOX_PIXELS), np.inf, np.float32)
    power = np.empty_like(nearest)
    for sample in range(SAMPLES):
        across, down = centre - x[:, sample, None], centre - y[:, sample, None]
        r = radius[:, sample, None]
        np.add((down * down - r * r)[:, :, None], (across * across)[:, None, :], out=power)
        np.minimum(nearest, power, out=nearest)
    usual = radius[:, SAMPLES // 2, None, None]  # any one will do where the pressure changes little
    outside = np.sqrt(np.maximum(nearest + usual * usual, 0)) - usual
    return np.clip(np.float32(0.5) - outside * edge, 0, 1)


def _frame(ink):
    """The images: the box set into an empty field, its ink's centre of mass in the middle."""
    pixels = (ink * 255 + np.float32(0.5)).astype(np.uint8)
    place = np.arange(_BOX_PIXELS)
    mass = pixels.sum((1, 2), dtype=np.int64)
    corners = []
    for other_axis in (2, 1):
        moment = (pixels.sum(other_axis, dtype=np.int64) * place).sum(1)
        nearest_pixel = (2 * moment + mass) // (2 * mass)
        corners.append(_FIELD_PIXELS // 2 - nearest_pixel)
    top, left = np.clip(corners, 0, _FIELD_PIXELS - _BOX_PIXELS)
    images = np.zeros((len(ink), _FIELD_PIXELS, _FIELD_PIXELS), np.uint8)
    rows, columns = (top[:, None] + place)[:, :, None], (left[:, None] + place)[:, None, :]
    images[np.arange(len(ink))[:, None, None], rows, columns] = pixels
    return images
