"""Refuses settings of Keras with which the command line cannot train, before TensorFlow starts."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from mnist_keras.errors import UsageError
from mnist_keras.inputs.regular_file import read_regular

_BACKEND = "tensorflow"
_CHOICES = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}


def require_usable(environ: Mapping[str, str] = os.environ) -> None:
    """Refuse another backend, and a ``keras.json`` that Keras cannot read.

    The other settings of ``keras.json`` change nothing: the command line uses Keras's defaults.

    Args:
        environ: the environment variables.

    Raises:
        UsageError: ``KERAS_BACKEND`` names another backend, the file cannot be read, or a value in
            it is wrong.

    Example:

    >>> require_usable({"KERAS_BACKEND": "jax"})
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: training needs the TensorFlow backend of Keras. Received: \
KERAS_BACKEND=jax. Expected: KERAS_BACKEND=tensorflow, or no KERAS_BACKEND.
    """
    backend = environ.get("KERAS_BACKEND") or _BACKEND
    if backend != _BACKEND:
        raise UsageError(
            "training needs the TensorFlow backend of Keras. "
            f"Received: KERAS_BACKEND={backend}. "
            f"Expected: KERAS_BACKEND={_BACKEND}, or no KERAS_BACKEND."
        )
    path = _keras_json(environ)
    stored = _read(path)
    if not isinstance(stored, dict):
        raise _wrong(path, received=json.dumps(stored), expected="a JSON object")
    for name, choices in _CHOICES.items():
        if stored.get(name, choices[0]) not in choices:
            raise _wrong(
                path, received=f"{name}={stored[name]!r}", expected=f"one of {', '.join(choices)}"
            )
    if not isinstance(stored.get("epsilon", 0.0), float):
        raise _wrong(path, received=f"epsilon={stored['epsilon']!r}", expected="a number like 1e-7")


def _keras_json(environ):
    """Where Keras looks for its settings."""
    if "KERAS_HOME" in environ:
        return pathlib.Path(environ["KERAS_HOME"], "keras.json").expanduser()
    home = os.path.expanduser("~")
    return pathlib.Path(home if os.access(home, os.W_OK) else "/tmp", ".keras", "keras.json")


def _read(path: pathlib.Path) -> Any:
    try:
        return json.loads(read_regular(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # Keras takes its defaults then.
        return {}
    except (OSError, RecursionError) as error:
        received = getattr(error, "strerror", None) or "JSON that is nested too deep"
        raise _wrong(path, received=received, expected="a file with a JSON object") from error


def _wrong(path, *, received, expected):
    return UsageError(
        f"the settings of Keras in {path} are wrong. Received: {received}. Expected: {expected}."
    )
