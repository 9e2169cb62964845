"""Digits that look handwritten, drawn from strokes: a data set that needs no file.

A digit starts as one of the forms in ``mnist_keras.data.datasets.glyphs``. Its points are jittered,
the form is bent, stretched, slanted and rotated, a pen of some width follows it, and the ink is
placed in the image as in MNIST.

The pixels are the same on every platform because they result only from sums, products, quotients
and square roots, one array operation at a time: IEEE 754 specifies these to the last bit. It does
not specify exponentials, sines, powers and long sums to the last bit, so none are used.
"""

import math
import operator
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mnist_keras.data.datasets.descriptions import SYNTHETIC
from mnist_keras.data.datasets.glyphs import SAMPLES, splines
from mnist_keras.errors import UsageError

VERSION = 1  # Of the pixels; each version has its own directory in the cache.

_HEIGHT, _WIDTH = SYNTHETIC.image_shape
_BOX_PIXELS = 20  # The sides of the box that the ink fills, as in MNIST.
_BLOCK_DIGITS = 500  # Drawn at once: amortises NumPy's calls and fits into the processor's cache.

# The variation between writers, as standard deviations. With these the width, height, slant and
# mass of the ink vary as much as in MNIST's training images.
_JITTER_GLYPHS = 0.055  # Of each point, in x and in y.
_BEND = 0.33  # The shift of x and of y per x², xy and y², all in glyphs.
_TWIST = 0.25  # The same per x³, x²y, xy² and y³.
_STRETCH = 0.2  # Of the width.
_SLANT_MEAN, _SLANT = 0.12, 0.28  # To the right, per unit of height.
_TURN = 0.12  # Radians, approximately.
_RADIUS_MEAN_PIXELS, _RADIUS_PIXELS, _RADIUS_MIN_PIXELS = 1.25, 0.38, 0.55  # Of the pen.
_RADIUS_SKEW_PIXELS = 0.04  # Thick pens deviate more from the mean than thin ones.
_PRESSURE = 0.08  # Change of the radius from the first to the last sample, and to the middle.
_EDGE_MEAN, _EDGE = 0.9, 0.15  # Ink lost per pixel of distance from the line: the scan's sharpness.


def synthetic_digits(
    count: int, *, seed: int, progress: Callable[[int], object] | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draws digits that look handwritten, placed in the image as MNIST's are.

    As in MNIST, the ink fits exactly into a box of 20x20 pixels and has smooth edges in shades of
    grey. Its centre of mass is within half a pixel of the middle pixel (14, 14), counted from 0,
    unless the box would leave the image. The ten digits are equally frequent and in random order.
    The cnn of `mnist_keras.app.networks`, trained only on 60,000 of them, reads 97 % of MNIST's
    test set.

    For one VERSION, the same seed gives the same bytes on every platform with IEEE 754 arithmetic
    and with every version of NumPy: only exactly rounded operations and the integers of PCG64,
    which NumPy guarantees, are used. The first digits do not depend on ``count``.

    Args:
        count: the number of digits.
        seed: an integer, 0 or more; each seed gives other digits.
        progress: called with the number of digits drawn so far; the last call has ``count``.

    Returns:
        images, uint8 (count, 28, 28), ink up to 255 on 0, and labels, uint8 (count,), 0 to 9.

    Raises:
        UsageError: count or seed is not an integer or is negative.

    Source of the placement: http://yann.lecun.com/exdb/mnist.

    >>> images, labels = synthetic_digits(3, seed=0)
    >>> images.shape, images.dtype, labels
    ((3, 28, 28), dtype('uint8'), array([9, 7, 9], dtype=uint8))
    """
    count, seed = _not_negative("count", count), _not_negative("seed", seed)
    images = np.empty((count, _HEIGHT, _WIDTH), np.uint8)
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
    """The random numbers of one block, computed from the raw integers of PCG64.

    NumPy guarantees these integers across versions, but not the results of its Generator (NEP 19).
    """

    def __init__(self, seed, block):
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,)))

    def uniform(self, *shape):
        """Float64 in [0, 1)."""
        integers = self._bits.random_raw(math.prod(shape)).reshape(shape)
        return (integers >> np.uint64(11)) * 2.0**-53

    def bell(self, *shape):
        """Float32 in (-3, 3), almost normal, with mean 0 and standard deviation 1."""
        first, second, third = self.uniform(3, *shape)
        return (2 * (first + second + third) - 3).astype(np.float32)


def _draw_block(seed, block):
    chance = _Chance(seed, block)
    digits = np.argsort(chance.uniform(_BLOCK_DIGITS), kind="stable") % SYNTHETIC.classes
    x, y = _deform(chance, *_write(chance, digits))
    radius = _pen_radius(chance, len(digits))
    x, y = _fit_to_box(x, y, radius)
    edge = _EDGE_MEAN + _EDGE * chance.bell(len(digits), 1, 1)
    return _frame(_ink(x, y, radius, edge)), digits


def _write(chance, digits):
    """The path of each digit: x and y, (n, SAMPLES) each, in glyphs from the glyph's middle."""
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
    """The path deformed by a random polynomial of the third degree and a random linear map."""
    terms = [(_BEND, term) for term in (x * x, x * y, y * y)]
    terms += [(_TWIST, term) for term in (x * x * x, x * x * y, x * y * y, y * y * y)]
    for scale, term in terms:
        to_x, to_y = scale * chance.bell(2, len(x), 1)
        x, y = x + to_x * term, y + to_y * term
    stretch, slant, turn = chance.bell(3, len(x), 1)
    x = x * (1 + _STRETCH * stretch) - (_SLANT_MEAN + _SLANT * slant) * y
    half = (_TURN / 2) * turn  # A rotation by the tangent of half the angle needs no sine.
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
    """The path in pixels of the box, whose side the path's longer side fills, with its line."""
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
    """Float32 (n, 20, 20) in [0, 1]: 0.5 at the line's edge, with a linear slope across it."""
    centre = np.arange(_BOX_PIXELS, dtype=np.float32) + np.float32(0.5)
    # The power of a point, its squared distance minus the squared radius, finds the nearest disc
    # without a square root for each sample.
    nearest = np.full((len(x), _BOX_PIXELS, _BOX_PIXELS), np.inf, np.float32)
    power = np.empty_like(nearest)
    for sample in range(SAMPLES):
        across, down = centre - x[:, sample, None], centre - y[:, sample, None]
        r = radius[:, sample, None]
        np.add((down * down - r * r)[:, :, None], (across * across)[:, None, :], out=power)
        np.minimum(nearest, power, out=nearest)
    usual = radius[:, SAMPLES // 2, None, None]  # The radii differ little.
    outside = np.sqrt(np.maximum(nearest + usual * usual, 0)) - usual
    return np.clip(np.float32(0.5) - outside * edge, 0, 1)


def _frame(ink):
    """The images: the box in an empty field, with the ink's centre of mass in the middle."""
    pixels = (ink * SYNTHETIC.max_pixel + np.float32(0.5)).astype(np.uint8)
    place = np.arange(_BOX_PIXELS)
    mass = pixels.sum((1, 2), dtype=np.int64)
    corners = []
    for other_axis, side in ((2, _HEIGHT), (1, _WIDTH)):
        moment = (pixels.sum(other_axis, dtype=np.int64) * place).sum(1)
        nearest_pixel = (2 * moment + mass) // (2 * mass)
        corners.append(np.clip(side // 2 - nearest_pixel, 0, side - _BOX_PIXELS))
    top, left = corners
    images = np.zeros((len(ink), _HEIGHT, _WIDTH), np.uint8)
    rows, columns = (top[:, None] + place)[:, :, None], (left[:, None] + place)[:, None, :]
    images[np.arange(len(ink))[:, None, None], rows, columns] = pixels
    return images
