"""Refuses URLs where a path is expected: as a path, ``gs://a/b`` is a new directory ``gs:``."""

import os
import re
import urllib.parse
from typing import overload

from mnist_keras.annotations import StrPath
from mnist_keras.errors import UsageError

# A scheme of one letter is a drive of Windows. pathlib makes one slash of two.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/.", re.IGNORECASE)
_OF_THIS_MACHINE = re.compile(r"file:(//(localhost)?)?(?=/(?!/))", re.IGNORECASE)


@overload
def local_path(path: str, *, flag: str = ...) -> str: ...
@overload
def local_path(path: StrPath, *, flag: str = ...) -> StrPath: ...
def local_path(path: StrPath, *, flag: str = "") -> StrPath:
    """A path that a user gave, if it is one of this machine.

    Args:
        path: a path, or a ``file:`` URL of this machine.
        flag: the flag that it was given with, for the message.

    Returns:
        The path unchanged; of a ``file:`` URL, its path.

    Raises:
        UsageError: it is a URL of something else.

    Example:

    >>> local_path("logs"), local_path("file:///tmp/my%20logs")
    ('logs', '/tmp/my logs')
    >>> local_path("gs://bucket/logs", flag="--logdir")
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: a path is a URL. Received: --logdir=gs://bucket/logs. \
Expected: a path of this machine.
    """
    text = os.fspath(path)
    if not isinstance(text, str) or not _URL.match(text):
        return path
    local = _OF_THIS_MACHINE.match(text)
    if local is not None:
        return urllib.parse.unquote(text[local.end() :], errors="surrogateescape")
    raise UsageError(
        f"a path is a URL. Received: {flag and f'{flag}='}{text}. Expected: a path of this machine."
    )
