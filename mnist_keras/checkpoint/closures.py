"""Finds what the Python code in the steps of a model uses: no graph shows it."""

import inspect
import types
from collections.abc import Iterator
from typing import Any

import keras

from mnist_keras._keras import flatten_layers
from mnist_keras.checkpoint import backends

_LIBRARIES = ("builtins", "jax", "keras", "mnist_keras", "numpy", "tensorflow", "torch")
# Keras and this package change them during a training.
_OWN_NUMBERS = (
    "built",
    "examples_in_epoch",
    "steps_trained",
    "stop_evaluating",
    "stop_predicting",
    "stop_training",
    "training",
)


def runs_python(model: Any) -> bool:
    """Whether the steps of a model run Python code, as all do on PyTorch."""
    return (
        getattr(model, "run_eagerly", False)
        or backends.name() == "torch"
        or _own_function(model) is not None
    )


def referenced(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) for what the methods of a model refer to outside of it.

    These are the closures and global names of the methods, of a train function of the program's
    own, and of the functions of the same program that they call. Classes of Keras and of this
    package are left out.
    """
    seen: set[int] = set()
    kinds = dict.fromkeys(kind for layer in flatten_layers(model) for kind in type(layer).__mro__)
    waiting: list[Any] = [
        method
        for kind in kinds
        if _is_of_the_program(kind.__module__)
        for method in vars(kind).values()
        if callable(method)
    ]
    waiting.append(_own_function(model))
    while waiting:
        function = inspect.unwrap(waiting.pop())  # Of a tf.function too.
        function = getattr(function, "__func__", function)
        if not isinstance(function, types.FunctionType) or id(function) in seen:
            continue
        seen.add(id(function))
        names = inspect.getclosurevars(function)
        for name, value in {**names.globals, **names.nonlocals}.items():
            if callable(value) and _is_of_the_program(getattr(value, "__module__", None)):
                waiting.append(value)
            if not isinstance(value, (types.FunctionType, types.ModuleType, type)):
                yield name, value


def numbers(model: keras.Model) -> dict[str, float]:
    """{attribute: value} of the Python numbers that a model and its layers hold.

    Those in the closure of a train function of the program's own count as the model's.

    Example:

    >>> class Counting(keras.Model):
    ...     seen = 0
    ...     def call(self, x):
    ...         self.seen += 1
    ...         return x
    >>> model = Counting()
    >>> _ = model(keras.ops.ones(1))
    >>> numbers(model)["seen"]
    1
    """
    found = {}
    own = inspect.unwrap(_own_function(model))
    if isinstance(own, types.FunctionType):
        held = inspect.getclosurevars(own).nonlocals
        found = {name: value for name, value in held.items() if isinstance(value, (int, float))}
    for layer in flatten_layers(model):
        prefix = "" if layer is model else f"{layer.name}."
        for name, value in vars(layer).items():
            is_own = name in _OWN_NUMBERS or name.startswith("_")
            if isinstance(value, (int, float)) and not is_own:
                found[prefix + name] = value
    return found


def _own_function(model):
    """The train function of the program's own that a `TapeModel` calls, or None."""
    return getattr(model, "own_train_function", None)


def _is_of_the_program(module):
    return (module or "").partition(".")[0] not in _LIBRARIES
