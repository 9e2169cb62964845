"""The state of callbacks: ours say it themselves, of Keras's own it is known here.

A callback says its state by ``state_dict()`` and takes it back by ``load_state_dict(state)``. A
state is made of dicts with names, lists, numbers, strings, None, and arrays, which come back as
NumPy's.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from mnist_keras import _keras
from mnist_keras.checkpoint.nested import put_arrays, take_arrays


@runtime_checkable
class Stateful(Protocol):
    """A callback that has a state of its own."""

    def state_dict(self) -> dict[str, Any]:
        """What is saved."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


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
        states.append([_name(callback), take_arrays(_state_dict(callback), prefix, arrays)])
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
        state = put_arrays(state, arrays)
        if isinstance(callback, Stateful):
            callback.load_state_dict(state)
        else:
            vars(callback).update(state)


def _stateful(callbacks):
    return [c for c in callbacks if isinstance(c, Stateful) or _keras_attributes(c)]


def _keras_attributes(callback):
    for kind, attributes in _keras.CALLBACK_STATE.items():
        if isinstance(callback, kind):
            return attributes
    return ()


def _state_dict(callback):
    if isinstance(callback, Stateful):
        return callback.state_dict()
    return {name: getattr(callback, name) for name in _keras_attributes(callback)}


def _name(callback):
    return type(callback).__name__
