"""Puts the flags of flag files in place of ``--flagfile``, as absl does, but bounded.

absl waits for ever for a named pipe, and reads a device or flag files that include each other until
no memory is left.
"""

import os
from collections.abc import Iterator, Sequence

from mnist_keras.errors import UsageError
from mnist_keras.inputs.regular_file import open_regular, read_bounded

_DIRECTIVES = ("--flagfile", "-flagfile")
_COMMENTS = ("#", "//")
# The pipes that a shell makes, as for --flagfile=<(command).
_OF_THE_SHELL = ("/dev/fd/", "/proc/self/fd/")
_DEVICES = ("/dev/stdin", os.devnull)
_MOST_BYTES = 1 << 20
_MOST_FILES = 100
_MOST_FLAGS = 10_000


def expand(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the lines of its flag files in place of ``--flagfile``.

    Args:
        words: the arguments of the program; those after ``--`` stay as they are.

    Raises:
        UsageError: a flag file cannot be read, is too large, or includes itself; or there are too
            many of them.

    Example:

    >>> expand(["--epochs=3", "--", "--flagfile=a"])
    ['--epochs=3', '--', '--flagfile=a']
    """
    expanded: list[str] = []
    reader = _Reader()
    rest = iter(words)
    for word in rest:
        flag, equals, path = word.partition("=")
        if flag in _DIRECTIVES:
            expanded.extend(reader.flags(path if equals else next(rest, ""), word, ()))
            continue
        expanded.append(word)
        if word == "--":
            expanded.extend(rest)
    return expanded


class _Reader:
    """Reads the flag files of one command line, and counts them and their flags."""

    def __init__(self) -> None:
        self._file_count = self._flag_count = 0

    def flags(self, path: str, word: str, outer: tuple[str, ...]) -> Iterator[str]:
        """The flags of a file that a word of the command line, or of the outer files, names."""
        path = os.path.expanduser(path.strip())
        if not path:
            place = f" in {outer[-1]}" if outer else ""
            raise UsageError(
                f"--flagfile without a path. Received: {word}{place}. Expected: --flagfile=PATH."
            )
        if path in outer:
            raise UsageError(
                f"a flag file includes itself. Received: --flagfile={path}. "
                "Expected: each flag file once."
            )
        self._file_count += 1
        if self._file_count > _MOST_FILES:
            raise _unreadable(f"more than {_MOST_FILES} flag files", path)
        for line in map(str.strip, _text(path).split("\n")):
            flag, _, included = line.partition("=")
            if flag in _DIRECTIVES:
                yield from self.flags(included, line, (*outer, path))
            elif line and not line.startswith(_COMMENTS):
                self._flag_count += 1
                if self._flag_count > _MOST_FLAGS:
                    raise _unreadable(f"more than {_MOST_FLAGS} flags", path)
                yield line


def _text(path: str) -> str:
    try:
        is_trusted = path.startswith(_OF_THE_SHELL) or path in _DEVICES
        with open(path, "rb") if is_trusted else open_regular(path) as file:
            content = read_bounded(file, most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as error:  # A ValueError for a path with a zero byte.
        raise _unreadable(getattr(error, "strerror", None) or str(error), path) from None
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UsageError(
            f"a flag file is not text. Received: --flagfile={path}. Expected: one flag per line."
        ) from None


def _unreadable(reason: str, path: str) -> UsageError:
    return UsageError(
        f"a flag file cannot be read: {reason}. Received: {path!r}. "
        "Expected: a text file with one flag per line."
    )
