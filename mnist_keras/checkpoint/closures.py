"""Finds the state of a model that is run eagerly: it has no graph that shows what a step uses."""

import inspect
import types
from collections.abc import Iterator
from typing import Any

import keras

from mnist_keras._keras import flatten_layers

_LIBRARIES = ("builtins", "jax", "keras", "mnist_keras", "numpy", "tensorflow", "torch")
# Keras and this package change them during a training.
_OWN_NUMBERS = ("built", "examples_in_epoch", "steps_trained", "stop_training")


def referenced(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) for what the methods of a model refer to outside of it.

    These are the closures and global names of the methods, and of the functions of the same
    program that they call. Classes of Keras and of this package are left out.

    Example:

    >>> keras.utils.set_random_seed(0)
    >>> def make():
    ...     noise = keras.random.SeedGenerator(1)
    ...     class Noisy(keras.Model):
    ...         def call(self, x):
    ...             return x + keras.random.normal((3,), seed=noise)
    ...     return Noisy()
    >>> [name for name, value in referenced(make()) if name == "noise"]
    ['noise']
    """
    seen: set[int] = set()
    kinds = dict.fromkeys(kind for layer in flatten_layers(model) for kind in type(layer).__mro__)
    waiting = [
        method
        for kind in kinds
        if _is_of_the_program(kind.__module__)
        for method in vars(kind).values()
        if isinstance(method, types.FunctionType)
    ]
    while waiting:
        function = waiting.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        names = inspect.getclosurevars(function)
        for name, value in {**names.globals, **names.nonlocals}.items():
            value = inspect.unwrap(value) if callable(value) else value  # A tf.function too.
            if isinstance(value, types.FunctionType):
                if _is_of_the_program(value.__module__):
                    waiting.append(value)
            elif not isinstance(value, (types.ModuleType, type)):
                yield name, value


def numbers(model: keras.Model) -> dict[str, float]:
    """{attribute: value} of the Python numbers that a model and its layers hold.

    Example:

    >>> class Counting(keras.Model):
    ...     seen = 0
    ...     def call(self, x):
    ...         self.seen += 1
    ...         return x
    >>> model = Counting()
    >>> before = numbers(model)
    >>> _ = model(1.0)
    >>> before, numbers(model)
    ({}, {'seen': 1})
    """
    found = {}
    for layer in flatten_layers(model):
        prefix = "" if layer is model else f"{layer.name}."
        for name, value in vars(layer).items():
            is_own = name in _OWN_NUMBERS or name.startswith("_")
            if isinstance(value, (int, float)) and not is_own:
                found[prefix + name] = value
    return found


def _is_of_the_program(module):
    return (module or "").partition(".")[0] not in _LIBRARIES
