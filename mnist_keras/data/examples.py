"""Images and their labels, as every source of data gives them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.data.sharded import Sharded
from mnist_keras.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and their labels. A slice of Examples is Examples.

    Args:
        images: uint8 (n, 28, 28), ink up to 255 on 0; what stays in files may be a ``np.memmap`` or
            `mnist_keras.data.sharded.Sharded`.
        labels: uint8 (n,), 0 to 9.

    Raises:
        DataError: another shape, type or label.

    Example:

    >>> import numpy as np
    >>> Examples(np.zeros((5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8))[1:3].labels
    array([1, 2], dtype=uint8)
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Checks what the class promises."""
        images: Any = self.images
        labels = np.asarray(self.labels)
        if not isinstance(images, Sharded):
            images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
            raise DataError(
                f"The images have the wrong form. Received: {images.dtype} {images.shape}. "
                "Expected: uint8 (n, 28, 28)."
            )
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise DataError(
                f"The labels have the wrong form. Received: {labels.dtype} {labels.shape}. "
                f"Expected: uint8 ({len(images)},), one for each image."
            )
        if len(labels) and labels.max() > 9:
            raise DataError(f"A label is no class. Received: {labels.max()}. Expected: 0 to 9.")

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.labels)

    def __getitem__(self, part: slice | npt.NDArray[Any]) -> "Examples":
        """The examples of a slice or an index array, as Examples."""
        return Examples(self.images[part], self.labels[part])
