"""Puts the flags of flag files in place of ``--flagfile``, as absl does, but bounded.

absl waits for ever for a named pipe, and reads a device or flag files that include each other until
no memory is left.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence

from mnist_keras.app import moved_runs
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path
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

    The flags.txt of a run leads to the directory that it lies in, see `moved_runs`. A --logdir or
    --run_name of the command line itself overrides it, also one before the flag file.

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
    reader = _Reader(typed=_place_flags(words), overwrites=_overwrites(words))
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


def _place_flags(words: Sequence[str]) -> set[str]:
    """Which flags of `moved_runs.PLACE` are among the words."""
    flags = itertools.takewhile("--".__ne__, words)
    names = {word.partition("=")[0].lstrip("-") for word in flags if word.startswith("-")}
    return names.intersection(moved_runs.PLACE)


def _overwrites(words: Sequence[str]) -> bool:
    flags = itertools.takewhile("--".__ne__, words)
    return any(word.lstrip("-") in ("overwrite", "overwrite=true") for word in flags)


class _Reader:
    """Reads the flag files of one command line, and counts them and their flags.

    Args:
        typed: the flags of `moved_runs.PLACE` that stand on the command line itself.
        overwrites: whether --overwrite does.
    """

    def __init__(self, *, typed: Iterable[str], overwrites: bool) -> None:
        self._typed, self._overwrites = typed, overwrites
        self._file_count = self._flag_count = 0

    def flags(self, path: str, word: str, outer: tuple[str, ...]) -> Iterator[str]:
        """The flags of a file that a word of the command line, or of the outer files, names."""
        path = local_path(os.path.expanduser(path.strip()), flag="--flagfile")
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
        lines = moved_runs.at_its_place(
            path, _lines(path), except_for=self._typed, is_replaced=self._overwrites
        )
        for line in lines:
            flag, _, included = line.partition("=")
            if flag in _DIRECTIVES:
                yield from self.flags(included, line, (*outer, path))
            elif line and not line.startswith(_COMMENTS):
                self._flag_count += 1
                if self._flag_count > _MOST_FLAGS:
                    raise _unreadable(f"more than {_MOST_FLAGS} flags", path)
                yield line


def lines_of(content: bytes) -> list[str]:
    """The lines of a flag file, without the blanks around them.

    Args:
        content: the bytes of the file; a byte-order mark of UTF-8 is left out.

    Raises:
        ValueError: they are not text in UTF-8.

    Example:

    >>> lines_of(b"--epochs=3\r\n --seed=1")
    ['--epochs=3', '--seed=1']
    """
    if b"\0" in content:
        raise ValueError("a zero byte")
    return [line.strip() for line in content.decode("utf-8-sig").split("\n")]


def _lines(path: str) -> list[str]:
    try:
        is_trusted = path.startswith(_OF_THE_SHELL) or path in _DEVICES
        with open(path, "rb") if is_trusted else open_regular(path) as file:
            content = read_bounded(file, most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as error:  # A ValueError for a path with a zero byte.
        raise _unreadable(getattr(error, "strerror", None) or str(error), path) from None
    try:
        return lines_of(content)
    except ValueError:
        raise UsageError(
            f"a flag file is not text. Received: --flagfile={path}. Expected: one flag per line."
        ) from None


def _unreadable(reason: str, path: str) -> UsageError:
    return UsageError(
        f"a flag file cannot be read: {reason}. Received: {path!r}. "
        "Expected: a text file with one flag per line."
    )
