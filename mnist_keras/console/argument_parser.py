"""The parser of the small commands beside main.py."""

import argparse
from typing import NoReturn

from mnist_keras.console.terminal import printable
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path


class ArgumentParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` whose errors escape what was typed, as all other lines do."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        super().error(printable(message))


def local_path_argument(text: str) -> str:
    """The ``type`` of an argument that is a path; a URL is a usage error in one line.

    >>> local_path_argument("file:///tmp/logs")
    '/tmp/logs'
    """
    try:
        return local_path(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
