"""The weights of the first layer, as a picture in TensorBoard."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.inference import model_inputs
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.input_images import is_image_shape
from mnist_keras.callbacks.tensorboard.picture_callback import PictureCallback
from mnist_keras.errors import UsageError

TAG = "first_layer_weights"
_TILE_PIXELS = 56


class FirstLayerWeights(PictureCallback):
    """Shows the weights of the first dense or convolutional layer, one image per unit or filter.

    White is 0, blue is positive, red is negative. The largest magnitude has the full colour. These
    weights form images; if there are none, a line on stderr says so:

    - those of a 2-D convolution, (height, width, channels, filters);
    - those of a dense layer on an input of the model, with a weight for each pixel. The input is
      (height, width), or with a last axis of 1, 3 or 4 channels. A flat input is taken for a square
      image if its size is a square number, also if it is a table.

    Args:
        logdir: the run's directory.
        image_shape: (height, width) or (height, width, channels) of a dense layer's input, needed
            if the model's input is unknown or flat and not square; None: as above.
        every_epochs: interval in epochs; the last epoch is always written too.
        most: the maximum number of units; the first ones are shown.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.zeros((4, 28, 28)), np.ones((4, 10))
    >>> weights = FirstLayerWeights(tempfile.mkdtemp(), every_epochs=1)
    >>> history = model.fit(x, y, verbose=0, callbacks=[weights])
    """

    def __init__(
        self,
        logdir: StrPath,
        *,
        image_shape: tuple[int, ...] | None = None,
        every_epochs: int = 10,
        most: int = 64,
    ) -> None:
        super().__init__(logdir, every_epochs=every_epochs)
        self._image_shape = image_shape
        self._most = most

    def drawn(self) -> Iterator[Summary]:
        name, shown = _first_images(self.model, image_shape=self._image_shape)
        shown = shown[: self._most]
        picture = drawing.grid(
            drawing.signed(shown), columns=8, palette=drawing.SIGNED, tile_pixels=_TILE_PIXELS
        )
        largest = np.abs(shown).max()
        description = f"{name}. Blue: above 0. Red: below 0. The strongest colour is {largest:.3g}."
        yield drawing.image_summary(TAG, picture, description=description)


def images(kernel: npt.NDArray[Any], *, image_shape: tuple[int, ...] | None) -> npt.NDArray[Any]:
    """Converts a kernel to one image per unit or filter.

    Args:
        kernel: (inputs, units) or (height, width, channels, filters).
        image_shape: (height, width) or (height, width, channels) of a dense layer's input; None: a
            square.

    Returns:
        (units, height, width), the mean over the channels.

    Raises:
        UsageError: the inputs do not fill an image of that shape.

    >>> images(np.zeros((784, 512)), image_shape=None).shape
    (512, 28, 28)
    """
    if kernel.ndim == 4:
        return np.moveaxis(kernel.mean(2), -1, 0)
    side = math.isqrt(len(kernel))
    height, width, *channels = image_shape or (side, side)
    if math.prod((height, width, *channels)) != len(kernel):
        raise UsageError(
            f"the weights of a unit are not an image. Received: {len(kernel)} weights, "
            f"{' x '.join(map(str, (height, width, *channels)))} pixels. "
            "Expected: image_shape with as many pixels."
        )
    return kernel.T.reshape(-1, height, width, *(channels or [1])).mean(-1)


def _first_images(model, *, image_shape):
    """(name, images) of the first kernel that forms images."""
    inputs = keras.tree.flatten(model_inputs(model))
    shapes = [tuple(tensor.shape)[1:] for tensor in inputs if tensor is not None]
    failures = []
    kernels = (variable for variable in model.weights if variable.name == "kernel")
    for number, variable in enumerate(kernels):
        # Each input has one first layer; the later dense layers are hidden.
        is_dense = len(variable.shape) == 2 and number < (len(shapes) or math.inf)
        if not is_dense and len(variable.shape) != 4:
            continue
        kernel = np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
        try:
            shape = image_shape or (_shape_of_image(len(kernel), shapes) if is_dense else None)
            return variable.path, images(kernel, image_shape=shape)
        except UsageError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    raise UsageError(
        "no layer has weights that form images. Received: a model without a 2-D convolution and "
        "without a dense layer on its input. Expected: one of them."
    )


def _shape_of_image(pixels, shapes):
    """The shape of the input that has so many pixels; None: it is flat, so a square."""
    if (pixels,) in shapes and pixels > 1:
        return None
    for shape in shapes:
        if is_image_shape(shape) and math.prod(shape) == pixels:
            return shape
    received = f"of the shapes {', '.join(map(str, shapes))}" if shapes else "of unknown shapes"
    raise UsageError(
        f"the weights of a unit are not an image. Received: {pixels} weights, inputs {received}. "
        "Expected: as many weights as pixels of an input, or image_shape."
    )
