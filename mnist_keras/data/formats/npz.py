"""Reads mnist.npz, the file that Keras publishes, without trusting it."""

import contextlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.annotations import StrPath
from mnist_keras.data.formats.idx import fill
from mnist_keras.errors import DataError
from mnist_keras.inputs.regular_file import open_regular
from mnist_keras.inputs.saved_page import HEAD_BYTES, describe_page

KEYS = ("x_train", "y_train", "x_test", "y_test")
_MAX_DEFLATE_RATIO = 1032  # https://zlib.net/zlib_tech.html


def read_npz(
    path: StrPath, *, check: Callable[[str, np.dtype[Any], tuple[int, ...]], object] | None = None
) -> list[npt.NDArray[np.uint8]]:
    """The arrays x_train, y_train, x_test and y_test of one mnist.npz, all uint8.

    Nothing is unpickled, and a size that a file of this length cannot hold is refused.

    Args:
        path: the file.
        check: called with the key, dtype and shape in the header of each array, before any value
            is read. It raises a DataError for an array that is not wanted.

    Raises:
        DataError: the file cannot be read or has other contents.

    >>> arrays = {name: np.arange(4, dtype=np.uint8) for name in KEYS}
    >>> np.savez("mnist.npz", **arrays)
    >>> [array.shape for array in read_npz("mnist.npz")]
    [(4,), (4,), (4,), (4,)]
    """
    try:
        with open_regular(path) as file:
            _require_no_page(path, file)
            return _read_members(file, check)
    except KeyError as error:
        raise DataError(
            f"{os.fspath(path)!r} is incomplete. Received: {error.args[0]}. "
            f"Expected: the arrays {', '.join(KEYS)}."
        ) from error
    except (
        OSError,
        EOFError,
        MemoryError,
        ValueError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        received = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(
            f"{os.fspath(path)!r} cannot be read. Received: {received}. "
            f"Expected: an .npz of uint8 arrays {', '.join(KEYS)}."
        ) from error


def _read_members(file, check):
    most = _MAX_DEFLATE_RATIO * os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        for key in KEYS:
            with _opened(archive, key, most) as (_, shape, _):
                if check is not None:
                    check(key, np.dtype(np.uint8), shape)
        return [_read_member(archive, key, most) for key in KEYS]


def _require_no_page(path, file):
    page = describe_page(file.read(HEAD_BYTES))
    if page is not None:
        raise DataError(
            f"{os.fspath(path)!r} is {page[0]}, not an .npz. Received: {page[1]}. "
            "Expected: a completed download."
        )


@contextlib.contextmanager
def _opened(archive, key, most):
    """Yields (stream of the values, shape, whether in Fortran order) of at most ``most`` bytes."""
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} has a compression that np.savez does not use")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # The header of a later version may have any length.
            raise ValueError(f"{info.filename} has the .npy version {version}")
        try:
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        except Exception as error:  # NumPy passes on the exceptions of Python's tokenizer.
            raise ValueError(f"{info.filename} has a damaged header") from error
        if dtype != np.uint8:
            raise ValueError(f"{info.filename} holds {dtype}")
        promised = math.prod(shape)
        if not 0 <= promised <= most or any(size < 0 for size in shape):
            raise ValueError(f"{info.filename} promises the shape {shape}")
        if stream.tell() + promised != info.file_size:
            raise ValueError(f"{info.filename} differs in length from its shape {shape}")
        yield stream, shape, is_fortran


def _read_member(archive, key, most):
    with _opened(archive, key, most) as (stream, shape, is_fortran):
        array = np.empty(math.prod(shape), np.uint8)
        if fill(array, stream) != len(array) or stream.read(1):
            raise ValueError(f"{key}.npy differs in length from its shape {shape}")
    return array.reshape(shape, order="F" if is_fortran else "C")
