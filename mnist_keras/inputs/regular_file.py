"""Opens regular files alone: to open or read a named pipe or a device may never end."""

import contextlib
import errno
import hashlib
import os
import stat
from typing import BinaryIO

from mnist_keras.annotations import StrPath
from mnist_keras.inputs.local_path import local_path

NOT_REGULAR = (errno.EISDIR, errno.EINVAL)  # The errors for a path that is something else.
_MOST_BYTES = 1 << 26
_MOST_HASHED_BYTES = 1 << 32
_PIECE_BYTES = 1 << 20  # read() makes room for all that it is asked for.
_NEVER_WAIT = getattr(os, "O_NONBLOCK", 0)
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: StrPath) -> BinaryIO:
    """Open a regular file for reading, or a link to one; never waits.

    Args:
        path: the file.

    Returns:
        A buffered binary file.

    Raises:
        OSError: the file cannot be opened; its ``strerror`` says why, or what else the path is.
        UsageError: the path is a URL.

    Example:

    >>> import tempfile
    >>> open_regular(tempfile.mkdtemp())
    Traceback (most recent call last):
    IsADirectoryError: [Errno 21] a directory
    """
    return open(local_path(path), "rb", opener=_without_waiting)


def read_regular(path: StrPath, *, most_bytes: int = _MOST_BYTES) -> bytes:
    """The bytes of a regular file.

    Args:
        path: the file.
        most_bytes: the size of a larger one is an error: a file of any size takes no room on the
            disk if it has gaps.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        return read_bounded(file, most_bytes=most_bytes)


def read_bounded(file: BinaryIO, *, most_bytes: int) -> bytes:
    """The bytes of an open file, from where it is to its end.

    Args:
        file: also a pipe or a device, which may never end.
        most_bytes: more of them are an error.

    Raises:
        OSError: there are more.

    Example:

    >>> read_bounded(open(os.devnull, "rb"), most_bytes=5)
    b''
    """
    return b"".join(_pieces(file, most_bytes))


def sha256_of(path: StrPath) -> str:
    """The hexadecimal sha256 of a regular file's bytes, read a piece at a time.

    Raises:
        OSError: as `open_regular`, or the file has more than 4 GiB.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        for piece in _pieces(file, _MOST_HASHED_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(file, most_bytes):
    if os.fstat(file.fileno()).st_size > most_bytes:
        raise _too_large(most_bytes)
    left = most_bytes + 1
    while left and (piece := file.read(min(left, _PIECE_BYTES))):
        left -= len(piece)
        if not left:  # It has grown since, or has another size than it says, as in /proc.
            raise _too_large(most_bytes)
        yield piece


def require_regular(path: StrPath) -> None:
    """Raise as `open_regular` if a path is not a regular file; for files that others open."""
    open_regular(path).close()


def require_replaceable(path: StrPath) -> None:
    """Raise if a file that is written to a path would replace something else than a file.

    Args:
        path: it may not exist, or may be a link that leads nowhere.

    Raises:
        OSError: a directory, a device or the like is there; its ``strerror`` says what.
    """
    with contextlib.suppress(FileNotFoundError):
        _require_file(os.stat(path).st_mode)


def _too_large(most_bytes):
    return OSError(errno.EFBIG, f"more than {most_bytes} bytes")


def _without_waiting(path, flags):
    _require_file(os.stat(path).st_mode)  # First, because to open a device may have an effect.
    descriptor = os.open(path, flags | _NEVER_WAIT)
    try:
        _require_file(os.fstat(descriptor).st_mode)  # Another file may have taken its place.
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_file(mode):
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "not a file")
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, kind)
