"""Encodes the data loader states of other libraries as JSON values and arrays.

Nothing is pickled: a checkpoint must not be able to run code.
"""

import sys
from typing import Any

import numpy as np

_TUPLE, _PAIRS, _BYTES, _TORCH = "__tuple__", "__pairs__", "__bytes__", "__torch__"


def encode(value: Any) -> Any:
    """Encode a state as dicts with string keys, lists, numbers, strings, None and arrays.

    Raises:
        TypeError: the state contains a value of another type.

    >>> decode(encode({1: (2, b"3")}))
    {1: (2, b'3')}
    """
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray, np.generic)):
        return value
    if isinstance(value, bytes):
        return {_BYTES: np.frombuffer(value, np.uint8)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: encode(part) for key, part in value.items()}
        return {_PAIRS: [[encode(key), encode(part)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [encode(part) for part in value]}
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
    if value.keys() == {_TUPLE}:
        return tuple(decode(part) for part in value[_TUPLE])
    if value.keys() == {_PAIRS}:
        return {decode(key): decode(part) for key, part in value[_PAIRS]}
    if value.keys() == {_TORCH}:
        import torch

        return torch.from_numpy(np.array(value[_TORCH]))
    return {key: decode(part) for key, part in value.items()}
