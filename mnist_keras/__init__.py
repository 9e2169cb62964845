"""A Keras trainer whose tape step is in the open: true steps, exact resume, safe checkpoints.

Importing this package imports neither TensorFlow nor Keras; the names below do, when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_keras.losses import SumSquaredError
    from mnist_keras.tape_model import TapeModel

__version__ = "0.1.0"

_HOME = {"TapeModel": "tape_model", "SumSquaredError": "losses"}
__all__ = ["SumSquaredError", "TapeModel", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
