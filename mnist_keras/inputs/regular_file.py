"""Opens regular files alone: to open or read a named pipe or a device may never end."""

import errno
import os
import stat
from typing import BinaryIO

from mnist_keras.annotations import StrPath

NOT_REGULAR = (errno.EISDIR, errno.EINVAL)  # The errors for a path that is something else.
_MOST_BYTES = 1 << 26
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

    Example:

    >>> import tempfile
    >>> open_regular(tempfile.mkdtemp())
    Traceback (most recent call last):
    IsADirectoryError: [Errno 21] a directory
    """
    return open(path, "rb", opener=_without_waiting)


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
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise _too_large(most_bytes)
        pieces, left = [], most_bytes + 1
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            pieces.append(piece)
            left -= len(piece)
    if not left:  # It has grown since, or has another size than it says, as in /proc.
        raise _too_large(most_bytes)
    return b"".join(pieces)


def require_regular(path: StrPath) -> None:
    """Raise as `open_regular` if a path is not a regular file; for files that others open."""
    open_regular(path).close()


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
