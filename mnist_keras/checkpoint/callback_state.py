"""The state of callbacks: ours say it themselves, of Keras's own it is known here.

A callback says its state by ``state_dict()`` and takes it back by ``load_state_dict(state)``. A
state is made of dicts with names, lists, numbers, strings, None, and arrays, which come back as
NumPy's.
"""

from typing import Any

import keras
import numpy as np

_ARRAY = "__array__"
_KERAS_ATTRIBUTES = {
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        "best",
        "_batches_seen_since_last_saving",
        "_last_batch_seen",
    ),
}


def capture(callbacks):
    """The states of all callbacks that have one.

    Returns:
        ([[class name, state], ...], {key: array}): the arrays in a state are replaced by
        ``{"__array__": key}``.
    """
    states: list[list[Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for callback in _stateful(callbacks):
        prefix = f"callbacks/{len(states)}"
        states.append([_name(callback), _take_arrays(_state_dict(callback), prefix, arrays)])
    return states, arrays


def check(states, callbacks, error):
    """Raise ``error`` unless the states are of these callbacks, in this order."""
    saved, present = [name for name, _ in states], [_name(c) for c in _stateful(callbacks)]
    if saved != present:
        raise error(
            "the saved state is of other callbacks. "
            f"Received: {', '.join(saved) or 'none'}. Expected: {', '.join(present) or 'none'}."
        )


def restore(states, arrays, callbacks):
    """Give each callback its state back."""
    for callback, (_, state) in zip(_stateful(callbacks), states, strict=True):
        state = _put_arrays(state, arrays)
        if hasattr(callback, "load_state_dict"):
            callback.load_state_dict(state)
        else:
            vars(callback).update(state)


def _stateful(callbacks):
    return [c for c in callbacks if hasattr(c, "state_dict") or _keras_attributes(c)]


def _keras_attributes(callback):
    for kind, attributes in _KERAS_ATTRIBUTES.items():
        if isinstance(callback, kind):
            return attributes
    return ()


def _state_dict(callback):
    if hasattr(callback, "state_dict"):
        return callback.state_dict()
    return {name: getattr(callback, name) for name in _keras_attributes(callback)}


def _name(callback):
    return type(callback).__name__


def _take_arrays(value, key, arrays):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {k: _take_arrays(v, f"{key}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_take_arrays(v, f"{key}/{i}", arrays) for i, v in enumerate(value)]
    if keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
        value = keras.ops.convert_to_numpy(value)
    if isinstance(value, np.ndarray) and value.ndim:
        arrays[key] = np.array(value)
        return {_ARRAY: key}
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def _put_arrays(value, arrays):
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {k: _put_arrays(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_put_arrays(v, arrays) for v in value]
    return value
