"""Packages that are needed only for some features, installed as extras of this package."""

import importlib.util

from mnist_keras.errors import UsageError


def require(package: str, *, needed_by: str) -> None:
    """Refuse to go on without a package; the extra that installs it has its name.

    Args:
        package: the name of the module to import.
        needed_by: what needs it, for the error message.

    Raises:
        UsageError: it is not installed.

    >>> require("no_such_package", needed_by="an example")
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: an example needs a package. Received: no no_such_package. \
Expected: pip install 'mnist_keras[no_such_package]'.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:  # None: just a directory of that name.
        raise UsageError(
            f"{needed_by} needs a package. Received: no {package}. "
            f"Expected: pip install 'mnist_keras[{package}]'."
        )
