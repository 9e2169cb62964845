"""Random deformations of the training images: other pictures of the same digits."""

import dataclasses
import math
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mnist_keras.errors import UsageError

# Knots of the elastic field lie this far apart; the Gaussian around each is as wide as Simard's.
_KNOT_DISTANCE_PIXELS = 4
_SMOOTHNESS_PIXELS = 4.0
_BELOW = {"scale": 1, "shear_degrees": 90}


class BatchAugmentation(Protocol):
    """What `mnist_keras.data.batches` takes as ``augmentation``: an `Augmentation`, or your own.

    Example:

    >>> import numpy as np
    >>> from mnist_keras.data import batches
    >>> class Negative:
    ...     identity = "negative"
    ...     def __call__(self, images, seed, **part):
    ...         return 1 - images
    >>> images, labels = np.zeros((2, 28, 28), np.uint8), np.arange(2)
    >>> stream = batches(images, labels, batch_size=2, augmentation=Negative())
    >>> [float(x[0, 0, 0]) for x, y in stream]
    [1.0]
    """

    @property
    def identity(self) -> Any:
        """What tells it from every other one, as JSON takes it."""

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Other images of that shape, float32 (n, height, width); called inside a graph.

        Where replicas share a batch it gets ``begin`` and ``of`` too, as an `Augmentation` does.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Moves, turns, scales, slants and bends each image of a batch by random amounts of its own.

    The amounts are a pure function of the seed, so that a training that was interrupted sees the
    same pictures again. All deformations of an image are composed before its pixels are
    interpolated, once. What comes in from outside the image is black.

    Args:
        shift_pixels: each image is moved by up to so much, to any side.
        rotation_degrees: turned by up to so much, either way, about its middle.
        scale: made larger or smaller by up to this fraction, below 1, in each direction by itself.
        shear_degrees: slanted by up to so much, below 90, either way.
        elastic_pixels: each of its points is displaced by a smooth random field; so much is the
            field's standard deviation, along each axis.

    Raises:
        UsageError: an amount below 0, not finite, or not below what it has to be below.

    Source: Simard, Steinkraus & Platt, Best Practices for Convolutional Neural Networks, 2003.

    Example:

    >>> import tensorflow as tf
    >>> augmentation = Augmentation(shift_pixels=2, rotation_degrees=10)
    >>> augmentation(tf.zeros((5, 28, 28)), tf.constant([7, 0])).shape
    TensorShape([5, 28, 28])
    """

    shift_pixels: float = 0.0
    rotation_degrees: float = 0.0
    scale: float = 0.0
    shear_degrees: float = 0.0
    elastic_pixels: float = 0.0

    def __post_init__(self) -> None:
        for name, amount in self.identity.items():
            if not 0 <= amount < _BELOW.get(name, math.inf):
                end = f" to below {_BELOW[name]}" if name in _BELOW else ""
                raise UsageError(
                    f"no amount of deformation. Received: {name}={amount}. "
                    f"Expected: a finite number from 0{end}."
                )

    @property
    def identity(self) -> dict[str, float]:
        """What tells this augmentation from every other one, a dict of the amounts."""
        return dataclasses.asdict(self)

    def __call__(
        self, images: tf.Tensor, seed: tf.Tensor, *, begin: Any = 0, of: Any = None
    ) -> tf.Tensor:
        """The deformed images; runs inside a graph.

        Args:
            images: float32 (n, height, width).
            seed: int32 (2,); the same one gives the same amounts.
            begin, of: where these images begin in a batch of ``of``, each of which has its amounts
                whatever part of the batch it comes in; None: they are the whole batch.

        Returns:
            float32 (n, height, width).
        """
        count = tf.shape(images)[0]
        end = begin + count
        whole = count if of is None else of
        affine_seed, elastic_seed = tf.unstack(tf.random.split(seed, 2, alg="philox"))
        matrices, offsets = self._affine(whole, affine_seed, images.shape[1:])
        if of is not None:
            matrices, offsets = matrices[begin:end], offsets[begin:end]
        if self.elastic_pixels:
            displacements = self._displacements(whole, elastic_seed, images.shape[1:])
            displacements = displacements if of is None else displacements[begin:end]
            return _interpolate(images, _positions(matrices, offsets, displacements))
        rows = tf.concat([matrices, offsets[..., tf.newaxis]], axis=2)
        transforms = tf.concat([tf.reshape(rows, [-1, 6]), tf.zeros([count, 2])], axis=1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images[..., tf.newaxis],
            transforms=transforms,
            output_shape=images.shape[1:].as_list(),
            fill_value=0.0,
            interpolation="BILINEAR",
        )[..., 0]

    def _affine(self, count, seed, shape):
        """Where each point comes from: point (x, y) from ``matrix @ (x, y) + offset``.

        Returns:
            float32 (n, 2, 2) and (n, 2).
        """
        draws = tf.random.stateless_uniform([6, count], seed, -1.0, 1.0, alg="philox")
        angle = draws[0] * math.radians(self.rotation_degrees)
        slant = tf.tan(draws[1] * math.radians(self.shear_degrees))
        x_scale, y_scale = 1 + self.scale * draws[2], 1 + self.scale * draws[3]
        cos, sin = tf.cos(angle), tf.sin(angle)
        matrices = tf.stack(
            [
                tf.stack([cos / x_scale, (slant * cos + sin) / x_scale], axis=1),
                tf.stack([-sin / y_scale, (cos - slant * sin) / y_scale], axis=1),
            ],
            axis=1,
        )
        middle = tf.constant([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
        shifts = self.shift_pixels * tf.transpose(draws[4:])
        return matrices, middle - tf.linalg.matvec(matrices, middle + shifts)

    def _displacements(self, count, seed, shape):
        """Two smooth random fields for each image, float32 (n, 2, height, width)."""
        height, width = (_bumps(size) for size in shape)
        noise = tf.random.stateless_normal(
            [count, 2, height.shape[1], width.shape[1]], seed, alg="philox"
        )
        fields = tf.matmul(tf.matmul(tf.constant(height), noise), tf.constant(width.T))
        return self.elastic_pixels * fields


def _bumps(size):
    """Gaussian weights of the knots at each pixel, float32 (size, knots).

    The squares of a pixel's weights sum to 1: knots of variance 1 give pixels of variance 1.
    """
    margin = 2 * _SMOOTHNESS_PIXELS
    knots = np.arange(-margin, size + margin, _KNOT_DISTANCE_PIXELS)
    distances = (np.arange(size)[:, np.newaxis] - knots) / _SMOOTHNESS_PIXELS
    weights = np.exp(-0.5 * distances**2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _positions(matrices, offsets, displacements):
    """Where each pixel comes from: float32 (n, 2, height, width), x before y."""
    height, width = displacements.shape[2:]
    y, x = tf.meshgrid(tf.range(float(height)), tf.range(float(width)), indexing="ij")
    pixels = tf.reshape(tf.stack([x, y]), [2, height * width])
    positions = tf.matmul(matrices, tf.broadcast_to(pixels, [tf.shape(matrices)[0], *pixels.shape]))
    return tf.reshape(positions + offsets[..., tf.newaxis], tf.shape(displacements)) + displacements


def _interpolate(images, positions):
    """The images at those positions, bilinearly; black outside.

    The four neighbours of a position lie side by side, so that one gather fetches them all.
    """
    height, width = images.shape[1:]
    padded = tf.pad(images, [[0, 0], [1, 2], [1, 2]])
    neighbours = tf.stack(
        [padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]], axis=-1
    )
    x = tf.clip_by_value(positions[:, 0], -1.0, float(width)) + 1
    y = tf.clip_by_value(positions[:, 1], -1.0, float(height)) + 1
    left, top = tf.floor(x), tf.floor(y)
    first = tf.range(tf.shape(images)[0])[:, tf.newaxis, tf.newaxis] * ((height + 2) * (width + 2))
    index = first + tf.cast(top * (width + 2) + left, tf.int32)
    corners = tf.gather(tf.reshape(neighbours, [-1, 4]), index)
    right_part, lower_part = x - left, y - top
    upper = corners[..., 0] + right_part * (corners[..., 1] - corners[..., 0])
    lower = corners[..., 2] + right_part * (corners[..., 3] - corners[..., 2])
    return upper + lower_part * (lower - upper)
