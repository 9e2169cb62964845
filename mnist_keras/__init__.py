"""A Keras trainer whose tape step is in the open: true steps, exact resume, safe checkpoints.

Importing this package imports neither TensorFlow nor Keras; the names below do, when first used.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_keras.console.start import import_quietly
    from mnist_keras.model.losses import SumSquaredError
    from mnist_keras.model.tape_model import TapeModel

__version__ = "0.1.0"
__path__.append(os.path.join(__path__[0], "aliases"))

_HOME = {
    "TapeModel": "model.tape_model",
    "SumSquaredError": "model.losses",
    "import_quietly": "console.start",
}
__all__ = ["SumSquaredError", "TapeModel", "__version__", "import_quietly"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
