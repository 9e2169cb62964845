"""Saves and restores the random number generators of a process.

These are the generators of Python's ``random``, NumPy's global generator, TensorFlow's generator
for eager operations, PyTorch's if it is loaded, and generators in an object's attributes, such as
a data set's.
"""

import random
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras._keras import eager_random

_DEPTH = 3  # levels of nested attributes, such as the generator of a loader's sampler


def capture(*owners: Any) -> dict[str, Any]:
    """The states of the process's generators and of the generators in some objects.

    Args:
        owners: objects whose attributes are searched for generators.

    Returns:
        {name: state}, consisting of dicts, lists, numbers, strings and arrays.

    Example:

    >>> state = capture()
    >>> drawn = random.random()
    >>> restore(state)
    >>> random.random() == drawn
    True
    """
    states = {
        "python": _of_python(random.getstate()),
        "numpy": _of_numpy(np.random.get_state(legacy=False)),
    }
    eager = eager_random()
    if eager is not None:
        states["tensorflow"] = _of_python(eager.getstate())
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state().numpy()
    return {**states, "held": held(*owners)}


def held(*owners: Any, depth: int = _DEPTH) -> list[Any]:
    """The states of the generators that objects hold, in the order of `generators`.

    Args:
        owners: as for `capture`.
        depth: levels of nested attributes that are searched.
    """
    return [_get(generator) for owner in owners for generator in generators(owner, depth=depth)]


def restore(states: dict[str, Any], *owners: Any, depth: int = _DEPTH) -> None:
    """Restore states from `capture`, or a part of them; skip generators that are missing here.

    Args:
        states: what `capture` returned.
        owners: as for `capture`.
        depth: as for `held`.
    """
    if "python" in states:
        random.setstate(_to_python(states["python"]))
    if "numpy" in states:
        np.random.set_state(_to_numpy(states["numpy"]))
    eager = eager_random()
    if eager is not None and "tensorflow" in states:
        eager.setstate(_to_python(states["tensorflow"]))
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in states:
        torch.set_rng_state(torch.from_numpy(np.array(states["torch"], np.uint8)))
    of_owners = [generator for owner in owners for generator in generators(owner, depth=depth)]
    for generator, state in zip(of_owners, states.get("held", []), strict=False):
        _set(generator, state)


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same.

    >>> same(capture(), capture())
    True
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return one == other


def generators(owner: Any, *, depth: int = _DEPTH) -> list[Any]:
    """The generators in an object's attributes, in the order of the attributes.

    >>> class Data:
    ...     rng = None
    >>> data = Data()
    >>> data.rng = random.Random(0)
    >>> len(generators(data))
    1
    """
    found: list[Any] = []
    _find(owner, found, set(), depth)
    return found


def _find(value, found, seen, depth):
    if id(value) in seen:
        return
    seen.add(id(value))
    if _kind(value) is not None:
        found.append(value)
    elif depth:
        parts: Any = ()
        if isinstance(value, (list, tuple)) and len(value) <= 100:
            parts = value
        elif isinstance(value, dict) and len(value) <= 100:
            parts = value.values()
        elif hasattr(value, "__dict__") and not isinstance(value, (type, keras.Layer)):
            parts = vars(value).values()
        for part in list(parts):
            if not callable(part) or _kind(part) is not None:
                _find(part, found, seen, depth - 1)


def _kind(value):
    if isinstance(value, random.Random):
        return "python"
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return "numpy"
    if isinstance(value, tf.random.Generator):
        return "tensorflow"
    if isinstance(value, keras.random.SeedGenerator):
        return "keras"
    torch = sys.modules.get("torch")
    return "torch" if torch is not None and isinstance(value, torch.Generator) else None


def _get(generator):
    kind = _kind(generator)
    if kind == "python":
        return _of_python(generator.getstate())
    if kind == "numpy":
        is_new = isinstance(generator, np.random.Generator)
        state = generator.bit_generator.state if is_new else generator.get_state(legacy=False)
        return _of_numpy(state)
    if kind == "torch":
        return generator.get_state().numpy()
    return keras.ops.convert_to_numpy(generator.state)


def _set(generator, state):
    kind = _kind(generator)
    if kind == "python":
        generator.setstate(_to_python(state))
    elif kind == "numpy" and isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _to_numpy(state)
    elif kind == "numpy":
        generator.set_state(_to_numpy(state))
    elif kind == "torch":
        import torch

        generator.set_state(torch.from_numpy(np.array(state, np.uint8)))
    else:
        generator.state.assign(state)


def _of_python(state):
    version, numbers, gauss = state
    return {"version": version, "numbers": np.array(numbers, np.uint32), "gauss": gauss}


def _to_python(state):
    return state["version"], tuple(map(int, state["numbers"])), state["gauss"]


def _of_numpy(state):
    """NumPy's state dict with large integers (up to 128 bits) as text, for exact JSON."""
    if isinstance(state, dict):
        return {name: _of_numpy(value) for name, value in state.items()}
    return f"{state:#x}" if isinstance(state, int) and state >= 2**53 else state


def _to_numpy(state):
    if isinstance(state, dict):
        return {name: _to_numpy(value) for name, value in state.items()}
    return int(state, 16) if isinstance(state, str) and state.startswith("0x") else state
