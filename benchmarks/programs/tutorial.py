"""The tutorial: ``python -m benchmarks.programs.tutorial EPOCHS DATA_DIR``."""

import sys

from benchmarks.contenders.tutorial import CONTENDERS
from mnist_keras.data import load


def main(epochs, data_dir):
    """Train and print, as the tutorial does."""
    train, _ = load(data_dir=data_dir or None)
    CONTENDERS["the tutorial's loop"](train)(int(epochs))


if __name__ == "__main__":
    main(*sys.argv[1:])
