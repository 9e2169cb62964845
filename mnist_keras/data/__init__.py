"""MNIST and similar data sets as arrays, and the stream that feeds them to ``fit``.

Importing this imports neither TensorFlow nor Keras; ``batches`` and ``BatchStream`` do, when first
used.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from mnist_keras.data.description import DatasetDescription
from mnist_keras.data.examples import Examples
from mnist_keras.data.formats.idx import map_idx, read_idx, write_idx
from mnist_keras.data.formats.shard_files import write_shards

if TYPE_CHECKING:
    from mnist_keras.data.datasets.catalog import load, resolve
    from mnist_keras.data.stream import BatchStream, batches

__path__.append(os.path.join(os.path.dirname(__path__[0]), "aliases", "data"))

_HOME = {
    "BatchStream": "stream",
    "batches": "stream",
    "load": "datasets.catalog",
    "resolve": "datasets.catalog",
}
__all__ = [
    "BatchStream",
    "DatasetDescription",
    "Examples",
    "batches",
    "load",
    "map_idx",
    "read_idx",
    "resolve",
    "write_idx",
    "write_shards",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
