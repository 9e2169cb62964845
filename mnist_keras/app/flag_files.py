"""Puts the flags of flag files in place of ``--flagfile``, as absl does, but bounded.

absl waits for ever for a named pipe, and reads a device or flag files that include each other until
no memory is left.
"""

import os
from collections.abc import Iterator, Sequence

from mnist_keras.errors import UsageError
from mnist_keras.inputs.regular_file import open_regular

_DIRECTIVES = ("--flagfile", "-flagfile")
_COMMENTS = ("#", "//")
# The pipes that a shell makes, as for --flagfile=<(command).
_OF_THE_SHELL = ("/dev/fd/", "/proc/self/fd/")
_STDIN = "/dev/stdin"
_MOST_BYTES = 1 << 20
_MOST_FLAGS = 10_000


def expand(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the lines of its flag files in place of ``--flagfile``.

    Args:
        words: the arguments of the program; those after ``--`` stay as they are.

    Raises:
        UsageError: a flag file cannot be read, is too large, or includes itself.

    Example:

    >>> expand(["--epochs=3", "--", "--flagfile=a"])
    ['--epochs=3', '--', '--flagfile=a']
    """
    expanded: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equals, path = word.partition("=")
        if flag in _DIRECTIVES:
            if not equals:
                path = next(rest, "")
            for line in _flags_in(path, ()):
                expanded.append(line)
                if len(expanded) > _MOST_FLAGS:
                    raise _unreadable(f"more than {_MOST_FLAGS} flags", path)
            continue
        expanded.append(word)
        if word == "--":
            expanded.extend(rest)
    return expanded


def _flags_in(path: str, outer: tuple[str, ...]) -> Iterator[str]:
    path = os.path.expanduser(path.strip())
    if path in outer:
        raise UsageError(
            f"a flag file includes itself. Received: --flagfile={outer[0]}. "
            "Expected: each flag file once."
        )
    for line in _text(path).splitlines():
        flag, equals, included = line.partition("=")
        if equals and flag in _DIRECTIVES:
            yield from _flags_in(included, (*outer, path))
        elif line.strip() and not line.startswith(_COMMENTS):
            yield line.strip()


def _text(path: str) -> str:
    try:
        is_of_the_shell = path.startswith(_OF_THE_SHELL) or path == _STDIN
        with open(path, "rb") if is_of_the_shell else open_regular(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # A ValueError for a path with a zero byte.
        raise _unreadable(getattr(error, "strerror", None) or str(error), path) from None
    if len(content) > _MOST_BYTES:
        raise _unreadable(f"more than {_MOST_BYTES} bytes", path)
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
