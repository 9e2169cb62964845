"""MNIST and its relatives as arrays, and the stream that feeds them to ``fit``.

Importing this imports neither TensorFlow nor Keras; ``batches`` and ``BatchStream`` do, when first
used.
"""

from typing import TYPE_CHECKING, Any

from mnist_keras.data.examples import Examples
from mnist_keras.data.idx import map_idx, read_idx, write_idx
from mnist_keras.data.shard_files import write_shards
from mnist_keras.data.sources import load, resolve

if TYPE_CHECKING:
    from mnist_keras.data.stream import BatchStream, batches

_STREAM = ("BatchStream", "batches")
__all__ = [
    "BatchStream",
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
    if name not in _STREAM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnist_keras.data import stream

    return getattr(stream, name)


def __dir__() -> list[str]:
    return sorted(__all__)
