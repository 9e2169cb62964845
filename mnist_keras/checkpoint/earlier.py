"""The directories in which the files of an earlier training are kept when another one begins."""

import pathlib
import re

_NAME = "earlier-"


def number(name: str) -> int | None:
    """The number in the name of such a directory; None for another name.

    >>> number("earlier-12"), number("train")
    (12, None)
    """
    match = re.fullmatch(rf"{_NAME}(\d+)", name)
    return None if match is None else int(match[1])


def new_directory(parent: pathlib.Path) -> pathlib.Path:
    """The path ``parent/earlier-N`` with the next number N; it is not created."""
    numbers = (number(path.name) for path in parent.glob("*/"))
    return parent / f"{_NAME}{max((it for it in numbers if it), default=0) + 1}"
