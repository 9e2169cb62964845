"""Warnings of libraries, which are for their developers, never end the program."""

import warnings
from typing import Any


def show_instead_of_raising() -> None:
    """Show the warnings that the environment asks to raise, as PYTHONWARNINGS=error does.

    TensorFlow and Keras warn in each run, so no command would work.

    Example:

    >>> with warnings.catch_warnings(record=True) as shown:
    ...     warnings.simplefilter("error")
    ...     show_instead_of_raising()
    ...     warnings.warn("old")
    >>> len(shown)
    1
    """
    filters: list[Any] = [*warnings.filters]
    if any(action == "error" for action, *_ in filters):
        warnings.filters[:] = [  # type: ignore[index]
            ("default" if action == "error" else action, *rest) for action, *rest in filters
        ]
        warnings.simplefilter("default", append=True)  # Python notices changes only so.
