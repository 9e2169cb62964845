"""The weights of the first layer, as a picture in TensorBoard."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.event_callback import EveryEpochsCallback
from mnist_keras.errors import UsageError

TAG = "first_layer_weights"
_TILE_PIXELS = 56


class FirstLayerWeights(EveryEpochsCallback):
    """Shows the weights of the first dense or convolutional layer, one image per unit or filter.

    White is 0, blue is positive, red is negative. The largest magnitude has the full colour.

    Args:
        logdir: the run's directory.
        image_shape: (height, width) of a dense layer's input; None: a square.
        every_epochs: interval in epochs; the last epoch is always written too.
        most: the maximum number of units; the first ones are shown.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1; or, during ``fit``, the
            model has no such layer, or the weights of a unit do not form an image.

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
        image_shape: tuple[int, int] | None = None,
        every_epochs: int = 10,
        most: int = 64,
    ) -> None:
        super().__init__(logdir, every_epochs=every_epochs)
        self._image_shape = image_shape
        self._most = most

    def summaries(self) -> Iterator[Summary]:
        name, kernel = _first_kernel(self.model)
        shown = images(kernel[..., : self._most], image_shape=self._image_shape)
        picture = drawing.grid(
            drawing.signed(shown), columns=8, palette=drawing.SIGNED, tile_pixels=_TILE_PIXELS
        )
        largest = np.abs(shown).max()
        description = f"{name}. Blue: above 0. Red: below 0. The strongest colour is {largest:.3g}."
        yield drawing.image_summary(TAG, picture, description=description)


def images(kernel: npt.NDArray[Any], *, image_shape: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Converts a kernel to one image per unit or filter.

    Args:
        kernel: (inputs, units) or (height, width, channels, filters).
        image_shape: (height, width) of a dense layer's input; None: a square.

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
    height, width = image_shape or (side, side)
    if height * width != len(kernel):
        raise UsageError(
            f"the weights of a unit are not an image. Received: {len(kernel)} weights, "
            f"{height} x {width} pixels. Expected: image_shape with as many pixels."
        )
    return kernel.T.reshape(-1, height, width)


def _first_kernel(model):
    for variable in model.weights:
        if variable.name == "kernel" and len(variable.shape) in (2, 4):
            return variable.path, np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
    raise UsageError(
        "no layer has weights that form images. Received: a model without dense and "
        "convolution layers. Expected: at least one of them."
    )
