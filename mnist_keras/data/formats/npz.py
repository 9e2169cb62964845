"""Reads mnist.npz, the file that Keras publishes, without trusting it."""

import math
import os
import zipfile
import zlib

import numpy as np

from mnist_keras.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
_MAX_DEFLATE_RATIO = 1032  # https://zlib.net/zlib_tech.html


def read_npz(path):
    """The arrays x_train, y_train, x_test and y_test of one mnist.npz, all uint8.

    Nothing is unpickled, and a size that a file of this length cannot hold is refused.

    Raises:
        DataError: the file cannot be read or has other contents.

    >>> arrays = {name: np.arange(4, dtype=np.uint8) for name in KEYS}
    >>> np.savez("mnist.npz", **arrays)
    >>> [array.shape for array in read_npz("mnist.npz")]
    [(4,), (4,), (4,), (4,)]
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [_read_member(archive, f"{key}.npy") for key in KEYS]
    except KeyError as error:
        raise DataError(
            f"{os.fspath(path)!r} is incomplete. Received: {error.args[0]}. "
            f"Expected: the arrays {', '.join(KEYS)}."
        ) from error
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(
            f"{os.fspath(path)!r} cannot be read. Received: {' '.join(str(error).split())}. "
            f"Expected: an .npz of uint8 arrays {', '.join(KEYS)}."
        ) from error


def _read_member(archive, name):
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} has a compression that np.savez does not use")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{name} has the .npy version {version}")
        try:
            shape, is_fortran, dtype = read_header(stream)
        except Exception as error:  # NumPy passes on the exceptions of Python's tokenizer.
            raise ValueError(f"{name} has a damaged header") from error
        if dtype != np.uint8:
            raise ValueError(f"{name} holds {dtype}")
        promised = math.prod(shape)
        most = _MAX_DEFLATE_RATIO * os.path.getsize(archive.filename)
        if not 0 <= promised <= most or any(size < 0 for size in shape):
            raise ValueError(f"{name} promises the shape {shape}")
        values = stream.read(promised + 1)
        if len(values) != promised:
            raise ValueError(f"{name} differs in length from its shape {shape}")
    array = np.frombuffer(bytearray(values), np.uint8)
    return array.reshape(shape, order="F" if is_fortran else "C")
