"""The parser of the small commands beside main.py."""

import argparse
from typing import NoReturn

from mnist_keras.console.terminal import printable


class ArgumentParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` whose errors escape what was typed, as all other lines do."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        super().error(printable(message))
