"""The description of a data set: image shape, classes, class names and preprocessing."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_keras.errors import UsageError

_CLASSES_IN_UINT8 = 256


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """The image shape, classes, class names and preprocessing of a data set of images.

    The defaults describe MNIST. `mnist_keras.data.batches`, `mnist_keras.data.Examples` and
    `mnist_keras.callbacks.tensorboard.exam.Exam` take another description as an argument.

    Args:
        image_shape: (height, width) or (height, width, channels) in pixels.
        classes: the number of classes; labels are integers from 0 to ``classes - 1``.
        class_names: a text for each class, in the order of the labels; None: the labels themselves.
        max_pixel: the stored uint8 value that a network sees as 1.0; 0 stays 0.0.

    Raises:
        UsageError: the number of names differs from the number of classes.

    Example:

    >>> cifar10 = DatasetDescription(image_shape=(32, 32, 3))
    >>> cifar10.classes, cifar10.names[:3], cifar10.stored_form
    (10, ('0', '1', '2'), 'uint8 (n, 32, 32, 3)')
    """

    image_shape: tuple[int, ...] = (28, 28)
    classes: int = 10
    class_names: tuple[str, ...] | None = None
    max_pixel: int = 255

    def __post_init__(self) -> None:
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise UsageError(
                "the names do not match the classes. "
                f"Received: {len(self.class_names)} names, {self.classes} classes. "
                "Expected: one name for each class."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """A text for each class: its name, else its number."""
        return self.class_names or tuple(map(str, range(self.classes)))

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """The type in which labels are stored: uint8 where they fit, else int32."""
        return np.dtype(np.uint8 if self.classes <= _CLASSES_IN_UINT8 else np.int32)

    @property
    def stored_form(self) -> str:
        """The type and shape of stored images, for messages."""
        return f"uint8 (n, {', '.join(map(str, self.image_shape))})"

    def preprocess(self, images: Any) -> Any:
        """Stored images as a network takes them.

        Args:
            images: uint8, a NumPy array or a tensor; also inside a graph.

        Returns:
            float32 of the same shape and kind, 0 to 1.

        Example:

        >>> DatasetDescription().preprocess(np.array([0, 51, 255], np.uint8)).tolist()
        [0.0, 0.20000000298023224, 1.0]
        """
        if isinstance(images, np.ndarray):
            return images / np.float32(self.max_pixel)
        import tensorflow as tf

        return tf.cast(images, tf.float32) / float(self.max_pixel)


# The default for arguments named ``description``: the form of MNIST.
DEFAULT_DESCRIPTION = DatasetDescription()
