"""The digits of one file: a photo of handwriting or an IDX file of images."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mnist_keras.annotations import Box, StrPath
from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.data.formats.idx import is_idx, opened_idx, read_idx
from mnist_keras.data.formats.idx_rows import IdxRows
from mnist_keras.errors import DataError
from mnist_keras.inputs.deadline import Deadline, DeadlineError
from mnist_keras.inputs.regular_file import open_regular

if TYPE_CHECKING:
    from mnist_keras.photos.photo_file import Photo


_MOST_BYTES_IN_MEMORY = 64 << 20  # Of an IDX file; a larger one is read again when it is used.
_MOST_SECONDS = 30.0  # For one photo; a page of a phone's camera takes about one.


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """The digits of one file, as a network takes them before preprocessing.

    Attributes:
        path: the file.
        images: uint8 (n, 28, 28), ink up to 255 on 0, in reading order; an `IdxRows` of a large
            IDX file.
        boxes: the (x, y, width, height) of each digit in pixels of the upright photo.
        photo: the `mnist_keras.photos.photo_file.Photo`; None: the file is IDX.
    """

    path: StrPath
    images: np.ndarray | IdxRows
    boxes: list[Box]
    photo: "Photo | None" = None


def read(path: StrPath, *, deadline: Deadline | None = None) -> Reading:
    """The digits in a photo, prepared as MNIST's were, or the images of an IDX file, unchanged.

    Args:
        path: the file.
        deadline: limits the time for a photo; by default 30 seconds from now.

    Returns:
        A `Reading`.

    Raises:
        DataError: the file is neither a photo nor an IDX file of images, is damaged, or takes too
            long.

    Example:

    >>> from mnist_keras.data import write_idx
    >>> write_idx("digits-idx3-ubyte", np.zeros((2, 28, 28), np.uint8))
    >>> read("digits-idx3-ubyte").boxes
    [(0, 0, 28, 28), (0, 0, 28, 28)]
    """
    if _is_idx(path):
        return _read_idx(path)
    # scipy takes a moment to import, and IDX files do not need it.
    from mnist_keras.photos.photo import find_digits
    from mnist_keras.photos.photo_file import read_photo

    deadline = deadline or Deadline(_MOST_SECONDS)
    with in_time(repr(os.fspath(path))):
        photo = read_photo(path, deadline=deadline)
        digits = find_digits(photo.grey, deadline=deadline)
    images = np.array([digit.image for digit in digits], np.uint8).reshape(-1, *MNIST.image_shape)
    return Reading(path, images, [photo.in_own_pixels(digit.box) for digit in digits], photo)


@contextlib.contextmanager
def in_time(name: str) -> Iterator[None]:
    """In this context the end of a deadline is a DataError about the photo of this name.

    >>> with in_time("page.png"):
    ...     Deadline(0).check()
    Traceback (most recent call last):
    mnist_keras.errors.DataError: page.png takes too long to read. Received: more than 0 s. \
Expected: a photo of some digits.
    """
    try:
        yield
    except DeadlineError as error:
        raise DataError(
            f"{name} takes too long to read. Received: {error}. Expected: a photo of some digits."
        ) from error


def _is_idx(path):
    try:
        with open_regular(path) as file:
            return is_idx(file.read(3))
    except OSError:
        return False  # `read_photo` says why the file cannot be read.


def _read_idx(path):
    height, width = MNIST.image_shape

    def check(dtype, shape):
        if dtype != np.uint8 or shape[-2:] != (height, width) or len(shape) > 3:
            raise DataError(
                f"{os.fspath(path)!r} does not contain images of digits. "
                f"Received: {dtype} {shape}. Expected: {MNIST.stored_form}."
            )

    with opened_idx(path, check=check) as (_, _, shape):
        is_large = math.prod(shape) > _MOST_BYTES_IN_MEMORY
    images: np.ndarray | IdxRows
    if is_large:
        images = IdxRows(path, check=check)
    else:
        images = read_idx(path, check=check).reshape(-1, height, width)
    return Reading(path, images, [(0, 0, width, height)] * len(images))
