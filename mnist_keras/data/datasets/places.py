"""Where other programs keep the data sets: Keras, torchvision and tensorflow_datasets."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mnist_keras.data.datasets.identity import is_part_of_a_set, set_named


def below(folder: Path, name: str) -> Iterator[Path]:
    """The subdirectories that may hold a data set, as ``MNIST/raw`` or ``mnist/3.0.1``.

    Args:
        folder: a directory.
        name: the name of the data set.
    """
    yield from _parts(folder)
    for path in _directories(folder):
        if set_named(path.name) == name:
            yield path
            yield from _parts(path)


def elsewhere(name: str) -> Iterator[Path]:
    """The directories of this user's other programs that may hold a data set."""
    with contextlib.suppress(RuntimeError):  # A user without a home directory.
        home = Path.home()
        keras = Path(os.environ.get("KERAS_HOME") or home / ".keras") / "datasets"
        tfds = Path(os.environ.get("TFDS_DATA_DIR") or home / "tensorflow_datasets")
        for root in (keras, tfds):
            yield root
            yield from below(root, name)


def _parts(folder):
    """Its subdirectories that torchvision and tensorflow_datasets make, the newest first."""
    found = [path for path in _directories(folder) if is_part_of_a_set(path.name)]
    return sorted(found, key=lambda path: _version(path.name), reverse=True)


def _version(text):
    return [int(number) for number in re.findall("[0-9]+", text)]


def _directories(folder):
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
