"""Images with their labels and description; every source of data returns them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.data.description import DEFAULT_DESCRIPTION, DatasetDescription
from mnist_keras.data.sharded import Sharded
from mnist_keras.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and their labels. A slice of Examples is Examples.

    Args:
        images: uint8 (n, height, width) or (n, height, width, channels), 0 to 255; images that
            stay in files may be a ``np.memmap`` or a `mnist_keras.data.sharded.Sharded`.
        labels: uint8 (n,), 0 to below the number of classes; int32 for more than 256 classes.
        description: the shape of an image and the classes; those of MNIST by default: images of
            28 x 28 pixels, 10 classes.

    Raises:
        DataError: the arrays do not match the description or each other.

    Example:

    >>> import numpy as np
    >>> Examples(np.zeros((5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8))[1:3].labels
    array([1, 2], dtype=uint8)
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    description: DatasetDescription = field(default=DEFAULT_DESCRIPTION, kw_only=True)

    def __post_init__(self) -> None:
        """Checks what the class promises."""
        images: Any = self.images
        labels = np.asarray(self.labels)
        if not isinstance(images, Sharded):
            images = np.asarray(images)
        require_images(images.dtype, images.shape, self.description)
        require_labels(labels.dtype, labels.shape, self.description, count=len(images))
        classes = self.description.classes
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            worst = labels.min() if labels.min() < 0 else labels.max()
            raise DataError(
                f"A label is not a class. Received: {worst}. Expected: 0 to {classes - 1}."
            )

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.labels)

    def digest(self) -> str:
        """The sha256 of the examples, in hexadecimal; of many, of a sample and all labels.

        >>> import numpy as np
        >>> Examples(np.zeros((5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8)).digest()[:8]
        'e090e64b'
        """
        # Imported here, because it imports TensorFlow.
        from mnist_keras.data.windows import Mapped

        return Mapped(self.images, self.labels, order=None).digest()

    def __getitem__(self, part: slice | npt.NDArray[Any]) -> "Examples":
        """The examples of a slice or an index array, as Examples."""
        return Examples(self.images[part], self.labels[part], description=self.description)


def require_images(
    dtype: np.dtype[Any], shape: tuple[int, ...], description: DatasetDescription
) -> None:
    """Refuse images of another form, which may not have been read yet.

    Raises:
        DataError: they do not match the description.
    """
    if dtype != np.uint8 or shape[1:] != description.image_shape:
        raise DataError(
            f"The images have the wrong form. Received: {dtype} {shape}. "
            f"Expected: {description.stored_form}."
        )


def require_labels(
    dtype: np.dtype[Any], shape: tuple[int, ...], description: DatasetDescription, *, count: int
) -> None:
    """Refuse labels of another form, which may not have been read yet; ``count`` of them fit.

    Raises:
        DataError: they do not match the description or the images.
    """
    if dtype != description.label_dtype or shape != (count,):
        raise DataError(
            f"The labels have the wrong form. Received: {dtype} {shape}. "
            f"Expected: {description.label_dtype} ({count},), one for each image."
        )
