"""Several files of one directory that are replaced together: all of them, or none.

The new files are written into a directory of their own inside it, which then gets the name
`PENDING`. From this moment on they are the files of the directory: `files_of` finds them there.
Then they are moved, one by one. A process that is killed leaves the old files before that moment
and the new ones after it; the next one that writes moves the rest.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from mnist_keras.annotations import StrPath
from mnist_keras.errors import DataError
from mnist_keras.inputs.durable import sync_directory
from mnist_keras.inputs.file_lock import FileLock, LockHeldError
from mnist_keras.inputs.regular_file import require_replaceable

PENDING = "unfinished-move"
_UNWRITTEN = ".unwritten-"
_LOCK = ".writing.lock"


def files_of(directory: StrPath) -> dict[str, Path]:
    """The entries of a directory, {name: path}, with the files that wait to be moved into it.

    Raises:
        OSError: the directory cannot be read.

    Example:

    >>> with replacing_together("digits") as new:
    ...     _ = (new / "one").write_bytes(b"1")
    >>> sorted(files_of("digits"))
    ['one']
    """
    directory = Path(directory)
    pending = directory / PENDING
    waiting = _names(pending)
    while True:
        found = {name: directory / name for name in os.listdir(directory)}
        before, waiting = waiting, _names(pending)
        if waiting == before:  # Otherwise another process has moved some in between.
            break
    found |= {name: pending / name for name in waiting}
    found.pop(PENDING, None)
    return found


def _names(directory):
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def replacing_together(directory: StrPath) -> Iterator[Path]:
    """Yields a new directory; on success its files replace those of the same names.

    Args:
        directory: it is created; its other files stay.

    Raises:
        DataError: the files cannot be written, or another process is writing files there.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"a directory cannot be created. Received: {os.fspath(directory)!r}: "
            f"{error.strerror}. Expected: a writable directory."
        ) from error
    try:
        with FileLock(directory / _LOCK):
            _move(directory)
            for left in directory.glob(f"{_UNWRITTEN}*"):
                shutil.rmtree(left)
            new = directory / f"{_UNWRITTEN}{secrets.token_hex(8)}"
            new.mkdir()
            try:
                yield new
                for name in os.listdir(new):
                    require_replaceable(directory / name)
                sync_directory(new)
                os.rename(new, directory / PENDING)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            _move(directory)
    except LockHeldError as error:
        raise DataError(
            f"another process is writing into the directory. Received: {os.fspath(directory)!r}. "
            "Expected: one that no process is writing into."
        ) from error
    except OSError as error:
        raise DataError(
            f"{os.fspath(directory)!r} cannot be written. Received: {error.strerror or error}. "
            "Expected: a writable directory."
        ) from error


def _move(directory):
    """Move the files that wait to be moved, if there are any."""
    pending = directory / PENDING
    if not pending.is_dir():
        return
    sync_directory(directory)
    for name in sorted(os.listdir(pending)):
        os.replace(pending / name, directory / name)
    sync_directory(directory)
    pending.rmdir()
