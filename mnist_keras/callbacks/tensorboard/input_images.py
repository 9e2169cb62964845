"""Finds the images among the inputs of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.callbacks.tensorboard.class_labels import is_numeric
from mnist_keras.errors import UsageError

_CHANNELS = ((), (1,), (3,), (4,))


def is_image_shape(shape: Sequence[int | None]) -> bool:
    """Whether one example of that shape looks like an image with its channels last.

    Args:
        shape: (height, width), or with a last axis of 1, 3 or 4 channels. Both sides have at least
            2 pixels.

    >>> is_image_shape((9, 9)), is_image_shape((9, 9, 3)), is_image_shape((9, 1))
    (True, True, False)
    """
    sides = [size for size in shape[:2] if size is not None]
    return len(sides) == 2 and min(sides) >= 2 and tuple(shape[2:]) in _CHANNELS


def as_images(array: Any) -> npt.NDArray[Any] | None:
    """An array as images that can be drawn; None if it does not look like images.

    Args:
        array: (n, height, width), or with a last axis of 1, 3 or 4 channels, or (n, channels,
            height, width) with 1 or 3 channels. A fourth channel, opacity, is left out.

    Returns:
        (n, height, width), or with a last axis of 1 or 3 channels.

    >>> as_images(np.zeros((5, 3, 32, 32))).shape, as_images(np.zeros((5, 20)))
    ((5, 32, 32, 3), None)
    """
    if not isinstance(array, np.ndarray) or array.ndim not in (3, 4) or not is_numeric(array):
        return None
    if array.shape[3:] not in _CHANNELS and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if not is_image_shape(array.shape[1:]):
        return None
    return array[..., :3] if array.ndim == 4 else array


def index_of_images(arrays: Sequence[Any]) -> int | None:
    """Which of a model's inputs looks like images, colour images first; None: no one does.

    >>> index_of_images([np.zeros((5, 20)), np.zeros((5, 9, 9)), np.zeros((5, 9, 9, 3))])
    2
    """
    images = [(i, array) for i, array in enumerate(arrays) if as_images(array) is not None]
    return max(images, key=lambda pair: pair[1].ndim)[0] if images else None


def require_images(arrays: Sequence[Any]) -> npt.NDArray[Any]:
    """The images among a model's inputs, as `as_images` returns them.

    Raises:
        UsageError: no input looks like images.

    >>> require_images([np.zeros((5, 20)), np.zeros((5, 9, 9))]).shape
    (5, 9, 9)
    """
    index = index_of_images(arrays)
    if index is None:
        raise UsageError(
            f"the examples are not images. Received: {forms(arrays)}. "
            "Expected: (n, height, width), or with a last axis of 1, 3 or 4 channels, or (n, "
            "channels, height, width) with 1 or 3 channels."
        )
    return as_images(arrays[index])  # type: ignore[return-value]  # Not None at this index.


def forms(arrays: Sequence[Any]) -> str:
    """Types and shapes of arrays, for messages.

    >>> forms([np.zeros((5, 20)), np.zeros(5, int)])
    'float64 (5, 20), int64 (5,)'
    """
    return ", ".join(
        f"{_type_name(array.dtype)} {tuple(array.shape)}"
        if hasattr(array, "shape")
        else type(array).__name__
        for array in arrays
    )


def _type_name(dtype):
    """The name in TensorFlow; NumPy has one for each length of texts."""
    is_text = getattr(dtype, "kind", "") in ("S", "U", "O")
    return "string" if is_text else getattr(dtype, "name", str(dtype))
