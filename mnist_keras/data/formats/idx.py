"""Reads and writes IDX, the format of the MNIST files, plain or gzipped.

Format: http://yann.lecun.com/exdb/mnist. Two zero bytes, one byte for the type, one for the
number of dimensions, each dimension as a big-endian uint32, then the values, big-endian.
"""

import contextlib
import gzip
import hashlib
import math
import os
import secrets
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mnist_keras.annotations import StrPath
from mnist_keras.errors import DataError, UsageError
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import open_regular, require_replaceable
from mnist_keras.inputs.saved_page import HEAD_BYTES, describe_page

_CODES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_MAX_RANK = 32  # the limit of NumPy before 2.0
_MAX_DEFLATE_RATIO = 1032  # https://zlib.net/zlib_tech.html
_CHUNK_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(
    path: StrPath, *, check: Callable[[np.dtype[Any], tuple[int, ...]], object] | None = None
) -> npt.NDArray[Any]:
    """The array of one IDX file.

    The first bytes tell whether the file is gzipped, not its name. Never more is decompressed or
    allocated than the header promises, and a header that promises more than a file of this size
    can hold is refused.

    Args:
        path: the file.
        check: called with the dtype and the shape in the header, before any value is read. It
            raises a DataError for an array that is not wanted.

    Returns:
        A writable array of the file's shape and type, in the machine's byte order.

    Raises:
        DataError: the file cannot be read or is not exactly one IDX array.

    Example:

    >>> import numpy as np
    >>> write_idx("labels-idx1-ubyte.gz", np.array([5, 0, 4], np.uint8))
    >>> read_idx("labels-idx1-ubyte.gz")
    array([5, 0, 4], dtype=uint8)
    """
    with opened_idx(path, check=check) as (stream, dtype, shape):
        array = _room(path, shape, dtype)
        received = fill(array, stream)
        _check_length(path, received + len(stream.read(1)), array.nbytes)
    if sys.byteorder == "little" and dtype.itemsize > 1:
        array = array.byteswap(inplace=True)
    return array.view(dtype.newbyteorder("="))


@contextlib.contextmanager
def opened_idx(
    path: StrPath, *, check: Callable[[np.dtype[Any], tuple[int, ...]], object] | None = None
) -> Iterator[tuple[BinaryIO, np.dtype[Any], tuple[int, ...]]]:
    """Yields (binary stream of the values, their big-endian dtype, the shape) of one IDX file.

    Args:
        path, check: as for `read_idx`.

    Raises:
        DataError: as for `read_idx`, without what only the values show.
    """
    with _opened(path) as (stream, file_bytes, is_gzip):
        dtype, shape, offset = _read_header(stream, path)
        promised = math.prod(shape) * dtype.itemsize
        if is_gzip:
            _check_promise(path, promised, file_bytes * _MAX_DEFLATE_RATIO)
        else:
            _check_length(path, file_bytes - offset, promised)
        if check is not None:
            check(dtype.newbyteorder("="), shape)
        yield stream, dtype, shape


def verified_form(
    path: StrPath, *, check: Callable[[np.dtype[Any], tuple[int, ...]], object] | None = None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read all values of one IDX file, keep none, and return their dtype and the shape.

    Args:
        path, check: as for `read_idx`.

    Raises:
        DataError: as for `read_idx`.
    """
    with opened_idx(path, check=check) as (stream, dtype, shape):
        promised, received = math.prod(shape) * dtype.itemsize, 0
        while received <= promised and (piece := stream.read(_CHUNK_BYTES)):
            received += len(piece)
        _check_length(path, received, promised)
    return dtype, shape


def fill(array: npt.NDArray[Any], stream: BinaryIO) -> int:
    """Read the values of an array from a stream, a piece at a time.

    Memory that the stream does not fill is never touched, so it costs nothing.

    Args:
        array: C-contiguous; it is overwritten.
        stream: a binary file.

    Returns:
        The number of bytes read: fewer than the array has if the stream ends before.
    """
    room, at = array.reshape(-1).view(np.uint8).data, 0
    while at < len(room):
        piece = stream.read(min(_CHUNK_BYTES, len(room) - at))
        if not piece:
            break
        room[at : at + len(piece)] = piece
        at += len(piece)
    return at


def is_idx(head: bytes) -> bool:
    """Whether a file that begins with these bytes, at least 3, is IDX or gzip.

    >>> is_idx(bytes([0, 0, 8, 3])), is_idx(b"\\xff\\xd8\\xff\\xe0")
    (True, False)
    """
    return head[:2] == _GZIP_MAGIC or (head[:2] == b"\0\0" and head[2] in _CODES)


def map_idx(path: StrPath) -> np.memmap:
    """The array of one uncompressed IDX file, which stays in the file and is read when used.

    Args:
        path: the file.

    Returns:
        A read-only ``np.memmap`` in the file's big-endian dtype.

    Raises:
        DataError: as for `read_idx`, or the file is gzipped.

    Example:

    >>> import numpy as np
    >>> write_idx("images-idx3-ubyte", np.zeros((2, 28, 28), np.uint8))
    >>> map_idx("images-idx3-ubyte").shape
    (2, 28, 28)
    """
    with _opened(path) as (stream, file_bytes, is_gzip):
        if is_gzip:
            raise _bad(path, "cannot be mapped into memory", "gzip", "an uncompressed IDX file")
        dtype, shape, offset = _read_header(stream, path)
        _check_length(path, file_bytes - offset, math.prod(shape) * dtype.itemsize)
        return np.memmap(stream, dtype, "r", offset, shape)


def write_idx(path: StrPath, array: npt.ArrayLike) -> None:
    """Writes an array as IDX, atomically; gzipped when the name ends in .gz.

    The same array always gives the same bytes.

    Args:
        path: the file; an existing one is replaced.
        array: uint8, int8, int16, int32, float32 or float64 in any byte order, with 1 to 32
            dimensions.

    Raises:
        UsageError: IDX cannot hold the array.
        DataError: the file cannot be written.

    Example:

    >>> import numpy as np
    >>> write_idx("ramp.idx", np.arange(3, dtype=np.int16))
    >>> open("ramp.idx", "rb").read().hex(" ")
    '00 00 0b 01 00 00 00 03 00 00 00 01 00 02'
    """
    path = Path(local_path(path))
    header, values = _encode(array)
    with replacing(path) as (stream, _):
        if path.suffix == ".gz":
            # By default the bytes would contain the time and the temporary name.
            with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as compressed:
                compressed.write(header)
                compressed.write(values)
        else:
            stream.write(header)
            stream.write(values)


def sha256_idx(array: npt.ArrayLike) -> str:
    """The hexadecimal sha256 of an array's uncompressed IDX bytes.

    >>> sha256_idx(np.array([5, 0, 4], np.uint8))[:16]
    'd229e0bc81fa2cb9'
    """
    digest = hashlib.sha256()
    for part in _encode(array):
        digest.update(part)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[tuple[BinaryIO, Path]]:
    """Yields (binary stream, its temporary path); on success the file replaces ``path``.

    The temporary file is in the same directory and has a random name, so two writers do not
    collide. A process that is killed leaves ``.NAME.RANDOM.part`` and the old file.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(local_path(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        # mkstemp's mode 0600 would lock other users out of a shared cache.
        with open(temporary, "xb") as stream:
            yield stream, temporary
            stream.flush()
            os.fsync(stream.fileno())
        require_replaceable(path)
        os.replace(temporary, path)
    except OSError as error:
        raise _bad(
            path, "cannot be written", error.strerror or error, "a writable directory"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _encode(array):
    array = np.asarray(array)
    big_endian = array.dtype.newbyteorder(">")
    code = next((code for code, dtype in _CODES.items() if dtype == big_endian), None)
    if code is None:
        raise UsageError(
            f"IDX cannot hold this dtype. Received: {array.dtype}. "
            f"Expected: one of {', '.join(dtype.name for dtype in _CODES.values())}."
        )
    if not 1 <= array.ndim <= _MAX_RANK or max(array.shape) >= 1 << 32:
        raise UsageError(
            f"IDX cannot hold this shape. Received: {array.shape}. "
            f"Expected: 1 to {_MAX_RANK} dimensions, each below 2**32."
        )
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header, np.ascontiguousarray(array, big_endian).reshape(-1).view(np.uint8).data


@contextlib.contextmanager
def _opened(path):
    try:
        with open_regular(path) as file:
            is_gzip = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if is_gzip else file as stream:
                yield stream, os.fstat(file.fileno()).st_size, is_gzip
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(path, "is damaged", error, "a complete gzip file") from error
    except OSError as error:
        raise _bad(
            path, "cannot be read", error.strerror or error, "a readable IDX file"
        ) from error


def _read_header(stream, path):
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        page = describe_page(magic + stream.read(HEAD_BYTES))
        if page is not None:
            raise _bad(path, f"is {page[0]}, not an IDX file", page[1], "a completed download")
        received = magic.hex(" ") if magic else "an empty file"
        raise _bad(path, "is not an IDX file", received, "00 00, then type and rank")
    dtype, rank = _CODES.get(magic[2]), magic[3]
    if dtype is None:
        expected = ", ".join(f"{code:#04x}" for code in _CODES)
        raise _bad(path, "has an unknown IDX type", f"{magic[2]:#04x}", f"one of {expected}")
    if not 1 <= rank <= _MAX_RANK:
        raise _bad(path, "has a wrong IDX rank", rank, f"1 to {_MAX_RANK} dimensions")
    dimensions = stream.read(4 * rank)
    if len(dimensions) < 4 * rank:
        received = f"{4 + len(dimensions)} bytes"
        raise _bad(path, "ends within its IDX header", received, f"{4 + 4 * rank} bytes")
    shape = struct.unpack(f">{rank}I", dimensions)
    # Even an empty array can have dimensions whose product overflows in NumPy.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 1 << 63:
        raise _bad(path, "has an impossible IDX shape", shape, "less than 2**63 bytes")
    return dtype, shape, 4 + 4 * rank


def _room(path, shape, dtype):
    try:
        return np.empty(shape, dtype)
    except MemoryError as error:
        raise _bad(path, "is too large", error, "an array that fits into memory") from error


def _check_promise(path, promised, most):
    if promised > most:
        received = f"{promised} bytes promised by the header"
        raise _bad(path, "is too short for its IDX header", received, f"at most {most}")


def _check_length(path, received, promised):
    if received != promised:
        length = "more" if received > promised else f"{received} bytes"
        raise _bad(path, "differs in length from its IDX header", length, f"{promised} bytes")


def _bad(path, problem, received, expected):
    received = " ".join(str(received).split())
    return DataError(f"{os.fspath(path)!r} {problem}. Received: {received}. Expected: {expected}.")
