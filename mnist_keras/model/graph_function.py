"""Graph functions of a model's own methods."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def graph_function(method: Callable[..., Any], **options: Any) -> Any:
    """``tf.function`` of a method, whose traces are counted for its object alone.

    TensorFlow warns of a function that is traced often, and takes all functions of the same code
    for one. So it would warn of the fifth model that a program trains.

    Args:
        method: a bound method.
        options: of ``tf.function``.

    Returns:
        The ``tf.function``, without AutoGraph.

    Example:

    >>> class Adder:
    ...     def add(self, x):
    ...         return x + 1
    >>> int(graph_function(Adder().add)(tf.constant(2)))
    3
    """
    return tf.function(functools.partial(method), autograph=False, **options)
