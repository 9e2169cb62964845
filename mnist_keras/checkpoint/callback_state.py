"""Saves and restores the states of callbacks, including some of Keras's own callbacks.

A callback returns its state from ``state_dict()`` and restores it in ``load_state_dict(state)``. A
state consists of dicts with string keys, lists, numbers, strings, None and arrays. Arrays are
restored as NumPy arrays. For Keras's own callbacks a table lists the attributes to save.
"""

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mnist_keras import _keras
from mnist_keras.checkpoint import random_state
from mnist_keras.checkpoint.attribute_values import package_of
from mnist_keras.checkpoint.nested import put_arrays, take_arrays


@runtime_checkable
class Stateful(Protocol):
    """A callback with ``state_dict`` and ``load_state_dict``."""

    def state_dict(self) -> dict[str, Any]:
        """The state to save."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


def capture(callbacks):
    """Collect the states of all callbacks that have a state.

    Returns:
        ([[class name, state], ...], {key: array}). In a state, ``{"__array__": key}`` replaces each
        array.
    """
    states: list[list[Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for callback in _stateful(callbacks):
        prefix = f"callbacks/{len(states)}"
        states.append([_name(callback), take_arrays(_state_dict(callback), prefix, arrays)])
    return states, arrays


def check(states, callbacks, error):
    """Raise ``error`` unless the states belong to these callbacks, in this order."""
    saved, present = [name for name, _ in states], [_name(c) for c in _stateful(callbacks)]
    if saved != present:
        raise error(
            "the saved state belongs to other callbacks. "
            f"Received: {', '.join(saved) or 'none'}. Expected: {', '.join(present) or 'none'}."
        )


def restore(states, arrays, callbacks):
    """Restore the state of each callback."""
    for callback, (_, state) in zip(_stateful(callbacks), states, strict=True):
        state = put_arrays(state, arrays)
        if isinstance(callback, Stateful):
            # The callback may keep and change it, and the state may be restored once more.
            callback.load_state_dict(copy.deepcopy(state))
        else:
            if state.get("best_weights") is not None:
                # A weight that is a single number was saved as one; Keras needs its shape.
                weights = [np.asarray(weight) for weight in state["best_weights"]]
                state = {**state, "best_weights": weights}
            vars(callback).update(state)


def restore_foreign(states, arrays, callbacks):
    """Restore the state of each callback of others that has changed since `restore`."""
    for callback, (name, state) in zip(_stateful(callbacks), states, strict=True):
        if package_of(type(callback)) == "mnist_keras":
            continue
        present: dict[str, np.ndarray] = {}
        now = put_arrays(take_arrays(_state_dict(callback), "", present), present)
        if not random_state.same(now, put_arrays(state, arrays)):
            restore([[name, state]], arrays, [callback])


def pairs(states, callbacks):
    """[(callback, its saved state), ...]; states may be those of other callbacks."""
    return [
        (callback, state)
        for callback, (name, state) in zip(_stateful(callbacks), states, strict=False)
        if name == _name(callback)
    ]


def without_state(callbacks: Sequence[Any]) -> list[Any]:
    """The callbacks of the user's program that have no ``state_dict``."""
    return [
        callback
        for callback in callbacks
        if not isinstance(callback, Stateful)
        and package_of(type(callback)) not in ("keras", "mnist_keras")
    ]


def _stateful(callbacks):
    return [c for c in callbacks if isinstance(c, Stateful) or keras_attributes(c)]


def keras_attributes(callback: Any) -> Sequence[str]:
    """The attributes of one of Keras's callbacks that are saved."""
    for kind, attributes in _keras.CALLBACK_STATE.items():
        if isinstance(callback, kind):
            return attributes
    return ()


def _state_dict(callback):
    if isinstance(callback, Stateful):
        return callback.state_dict()
    return {name: getattr(callback, name) for name in keras_attributes(callback)}


def _name(callback):
    return type(callback).__name__
