"""Random deformations of the training images, which leave the class as it is."""

import dataclasses
import math
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mnist_keras.errors import UsageError

# The distance between the knots of the elastic field, and the width of the Gaussian around each,
# which is Simard's.
_KNOT_DISTANCE_PIXELS = 4
_SMOOTHNESS_PIXELS = 4.0
_BELOW = {"scale": 1, "shear_degrees": 90}


class BatchAugmentation(Protocol):
    """The protocol of ``augmentation`` in `mnist_keras.data.batches`: an `Augmentation` or yours.

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
        """A value for JSON that differs between augmentations with different results."""

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The augmented images, float32 of the shape of ``images``; called inside a graph.

        Where replicas share a batch, it receives ``begin`` and ``of`` too, as an `Augmentation`.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Shifts, rotates, scales, shears and distorts each image by its own random amounts.

    The amounts are a pure function of the seed, so a resumed training sees the same images. The
    deformations of an image are composed first, and its pixels are interpolated once. Pixels from
    outside the image are black.

    Args:
        shift_pixels: the largest shift along each axis.
        rotation_degrees: the largest rotation about the center, in either direction.
        scale: the largest change of size along each axis, a fraction below 1.
        shear_degrees: the largest shear in either direction, below 90.
        elastic_pixels: the standard deviation, along each axis, of a smooth random field that
            displaces each pixel.

    Raises:
        UsageError: an amount is negative, not finite, or at or above its limit.

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
                    f"the amount of a deformation is wrong. Received: {name}={amount}. "
                    f"Expected: a finite number from 0{end}."
                )

    @property
    def identity(self) -> dict[str, float]:
        """A dict of the amounts, which differs between augmentations with different results."""
        return dataclasses.asdict(self)

    def __call__(
        self, images: tf.Tensor, seed: tf.Tensor, *, begin: Any = 0, of: Any = None
    ) -> tf.Tensor:
        """The deformed images; runs inside a graph.

        Args:
            images: float32 (n, height, width) or (n, height, width, channels).
            seed: int32 (2,); the same seed gives the same amounts.
            begin, of: these images begin at index ``begin`` of a batch of ``of`` images. The
                amounts of an image depend only on its index in the batch. None: the images are
                the entire batch.

        Returns:
            float32 of the same shape.

        Raises:
            UsageError: the channels come before the height.
        """
        _require_channels_last(images.shape)
        if images.shape.rank == 3:
            return self._deformed(images[..., tf.newaxis], seed, begin, of)[..., 0]
        return self._deformed(images, seed, begin, of)

    def _deformed(self, images, seed, begin, of):
        shape = images.shape[1:3]
        count = tf.shape(images)[0]
        end = begin + count
        batch_size = count if of is None else of
        affine_seed, elastic_seed = tf.unstack(tf.random.split(seed, 2, alg="philox"))
        matrices, offsets = self._affine(batch_size, affine_seed, shape)
        if of is not None:
            matrices, offsets = matrices[begin:end], offsets[begin:end]
        if self.elastic_pixels:
            displacements = self._displacements(batch_size, elastic_seed, shape)
            displacements = displacements if of is None else displacements[begin:end]
            positions = _positions(matrices, offsets, displacements)
            channels = [_interpolate(channel, positions) for channel in tf.unstack(images, axis=3)]
            return tf.stack(channels, axis=3)
        rows = tf.concat([matrices, offsets[..., tf.newaxis]], axis=2)
        transforms = tf.concat([tf.reshape(rows, [-1, 6]), tf.zeros([count, 2])], axis=1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=shape.as_list(),
            fill_value=0.0,
            interpolation="BILINEAR",
        )

    def _affine(self, count, seed, shape):
        """The affine map of each image: a pixel (x, y) comes from ``matrix @ (x, y) + offset``.

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
    """The Gaussian weight of each knot at each pixel, float32 (size, knots).

    The squares of a pixel's weights sum to 1: knots of variance 1 give pixels of variance 1.
    """
    margin = 2 * _SMOOTHNESS_PIXELS
    knots = np.arange(-margin, size + margin, _KNOT_DISTANCE_PIXELS)
    distances = (np.arange(size)[:, np.newaxis] - knots) / _SMOOTHNESS_PIXELS
    weights = np.exp(-0.5 * distances**2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _require_channels_last(shape):
    if shape.rank == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise UsageError(
            "the images have their channels first. "
            f"Received: (n, {', '.join(map(str, shape[1:]))}). "
            "Expected: (n, height, width, channels)."
        )


def _positions(matrices, offsets, displacements):
    """The source position of each pixel: float32 (n, 2, height, width), x before y."""
    height, width = displacements.shape[2:]
    y, x = tf.meshgrid(tf.range(float(height)), tf.range(float(width)), indexing="ij")
    pixels = tf.reshape(tf.stack([x, y]), [2, height * width])
    positions = tf.matmul(matrices, tf.broadcast_to(pixels, [tf.shape(matrices)[0], *pixels.shape]))
    return tf.reshape(positions + offsets[..., tf.newaxis], tf.shape(displacements)) + displacements


def _interpolate(images, positions):
    """The values of images (n, height, width) at these positions, bilinear; black outside.

    The four neighbours of a position are stored side by side, so one gather fetches all four.
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
