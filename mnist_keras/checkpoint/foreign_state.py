"""Encodes the data loader states of other libraries as JSON values and arrays.

Nothing is pickled: a checkpoint must not be able to run code.
"""

import collections
import sys
from typing import Any

import numpy as np
import tensorflow as tf

TUPLE, _SET, DEQUE, PAIRS = "__tuple__", "__set__", "__deque__", "__pairs__"
_BYTES, _TORCH, _TENSOR, _SCALAR = "__bytes__", "__torch__", "__tensor__", "__scalar__"


def encode(value: Any) -> Any:
    """Encode a state as dicts with string keys, lists, numbers, strings, None and arrays.

    Raises:
        TypeError: the state contains a value of another type.

    >>> decode(encode({1: (2, b"3")}))
    {1: (2, b'3')}
    """
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        # JSON would turn a number of NumPy into one of Python, with other digits.
        return value if value.ndim else {_SCALAR: np.array([value])}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return {_BYTES: np.frombuffer(value, np.uint8)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: encode(part) for key, part in value.items()}
        return {PAIRS: [[encode(key), encode(part)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {TUPLE: [encode(part) for part in value]}
    if type(value) is set:
        return {_SET: [encode(part) for part in value]}
    if type(value) is collections.deque:
        return {DEQUE: [value.maxlen, *[encode(part) for part in value]]}
    if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
        return {_TENSOR: encode(np.array(value))}
    if isinstance(value, list):
        return [encode(part) for part in value]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return {_TORCH: value.detach().cpu().numpy().copy()}
    raise TypeError(f"a state cannot hold a {type(value).__name__}")


def decode(value: Any) -> Any:
    """The state that was given to `encode`."""
    if isinstance(value, list):
        return [decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_BYTES}:
        return np.asarray(value[_BYTES], np.uint8).tobytes()
    if value.keys() == {TUPLE}:
        return tuple(decode(part) for part in value[TUPLE])
    if value.keys() == {_SET}:
        return {decode(part) for part in value[_SET]}
    if value.keys() == {DEQUE}:
        maxlen, *parts = value[DEQUE]
        return collections.deque(map(decode, parts), maxlen)
    if value.keys() == {_SCALAR}:
        return value[_SCALAR][0]
    if value.keys() == {_TENSOR}:
        return tf.constant(decode(value[_TENSOR]))
    if value.keys() == {PAIRS}:
        return {decode(key): decode(part) for key, part in value[PAIRS]}
    if value.keys() == {_TORCH}:
        import torch

        return torch.from_numpy(np.array(value[_TORCH]))
    return {key: decode(part) for key, part in value.items()}
