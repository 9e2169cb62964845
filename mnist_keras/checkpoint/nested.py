"""Splits nested states into a JSON value and a dict of arrays.

A state consists of dicts with string keys, lists, numbers, strings, None, and arrays.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

_ARRAY = "__array__"


def take_arrays(
    value: Any, key: str, arrays: dict[str, np.ndarray], *, are_copies: bool = False
) -> Any:
    """The value in JSON types; each array moves to ``arrays``, and its key replaces it.

    Args:
        value: a state.
        key: the prefix of the arrays' keys.
        arrays: {key: array}; this function adds to it.
        are_copies: whether nothing changes the arrays of the state later; else they are copied.

    >>> arrays = {}
    >>> take_arrays({"order": np.arange(2), "epoch": 1}, "data", arrays)
    {'order': {'__array__': 'data/order'}, 'epoch': 1}
    >>> arrays
    {'data/order': array([0, 1])}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = {k: take_arrays(v, f"{key}/{k}", arrays, are_copies=are_copies) for k, v in items}
        return parts if isinstance(value, dict) else [*parts.values()]
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    elif keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
        value = keras.ops.convert_to_numpy(value)
    if isinstance(value, np.ndarray) and value.ndim:
        arrays[key] = value if are_copies else np.array(value)
        return {_ARRAY: key}
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def put_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that was given to `take_arrays`; tuples become lists, bytes uint8 arrays.

    >>> put_arrays({"order": {"__array__": "data/order"}}, {"data/order": np.arange(2)})
    {'order': array([0, 1])}
    """
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {k: put_arrays(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [put_arrays(v, arrays) for v in value]
    return value
