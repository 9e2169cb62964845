"""The definition of a pipeline, the table of all pipelines, and their shared functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def _any_arrays(arrays):
    return True


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """One way to feed arrays to `fit`.

    Attributes:
        name: its key in `PIPELINES`.
        fit: (arrays, batch size, seed) -> keyword arguments of `fit`. The arrays are (x,), (x, y)
            or (x, y, sample_weight), in any nesting, examples first. Each process of a training
            calls it once, with the same arguments.
        exact: True: a resumed training must give the same bits. Otherwise the reason why it
            cannot; it must then report that the resume is not exact.
        needs: the optional packages that it requires.
        fits: whether it can be used for these arrays.
        is_seeded: whether the program sets a seed. Without one, exact means that each epoch trains
            on the same examples, equally often, as in an uninterrupted training.
        length_is_known: whether Keras knows the steps of an epoch before the first one. Where it
            does not, ``keras.Model`` counts a step too many, and its History cannot be compared.
    """

    name: str
    fit: Callable[[tuple, int, int], dict[str, Any]]
    exact: bool | str
    needs: tuple[str, ...] = ()
    fits: Callable[[tuple], bool] = _any_arrays
    is_seeded: bool = True
    length_is_known: bool = True


PIPELINES: dict[str, Pipeline] = {}


def pipeline(name, *, exact: bool | str = True, **attributes):
    """Add a function to the table."""

    def add(fit):
        assert name not in PIPELINES, name
        PIPELINES[name] = Pipeline(name, fit, exact, **attributes)
        return fit

    return add


def count(arrays):
    """The number of examples in the arrays."""
    return len(keras.tree.flatten(arrays)[0])


def rows(arrays, indices):
    """The given examples of all arrays."""
    return keras.tree.map_structure(lambda array: array[indices], tuple(arrays))


def batches_of(arrays, batch_size, order):
    """The batches of one pass over the arrays in an order of the examples."""
    for begin in range(0, len(order), batch_size):
        yield rows(arrays, order[begin : begin + batch_size])


def is_float(array):
    """Whether an array or a tensor is of floating point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(array.dtype))


def has_float_inputs(arrays):
    """Whether noise can be added to the inputs."""
    return all(is_float(array) for array in keras.tree.flatten(arrays[0]))


def has_labels(arrays):
    return len(arrays) == 2


def has_classes(arrays):
    """Whether y is one class for each example."""
    if not has_labels(arrays) or not isinstance(arrays[1], np.ndarray):
        return False
    return arrays[1].dtype.kind in "iu" and arrays[1].size == len(arrays[1])
