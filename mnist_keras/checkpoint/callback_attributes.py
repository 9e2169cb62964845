"""The attributes that a user's callback changes while it trains, saved without a ``state_dict``.

Counters, lists of losses, averages of weights, random generators: what such a callback changes
after ``on_train_begin`` is saved and restored. What it leaves is the program's. Objects of other
types are left alone, and so are readings of a clock, which mean nothing in another process.
"""

import time
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.checkpoint import foreign_state, random_state
from mnist_keras.checkpoint.nested import put_arrays, take_arrays

_MOST_PARTS = 100_000  # of one attribute
_SMALL_BYTES = 2**20  # arrays up to this size are compared as a whole
_SAMPLES = 4096
_YEARS_S = 1e8
_CLOCKS = (time.perf_counter, time.monotonic)
_DRAWN = (types.GeneratorType, tf.data.Iterator)
_VARIABLE = "__variable__"


class CallbackAttributes:
    """Knows which attributes of a fit's callbacks have changed; create it after ``on_train_begin``.

    Args:
        callbacks: the callbacks whose attributes are saved.
        left_out: the names of attributes that are not looked at.

    Example:

    >>> class Counter(keras.callbacks.Callback):
    ...     def __init__(self, every):
    ...         super().__init__()
    ...         self.every, self.count = every, 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.count += 1
    >>> counter, arrays = Counter(every=10), {}
    >>> attributes = CallbackAttributes([counter])
    >>> counter.on_train_batch_end(0)
    >>> saved = attributes.capture(arrays)
    >>> another = Counter(every=20)
    >>> CallbackAttributes([another]).restore(saved, arrays)
    []
    >>> another.every, another.count
    (20, 1)
    """

    def __init__(self, callbacks: Sequence[Any], *, left_out: Iterable[str] = ()) -> None:
        self.callbacks = list(callbacks)
        self._left_out = {*left_out, *vars(keras.callbacks.Callback())}
        self._began = [clock() for clock in _CLOCKS]
        self._first = [self._plain(callback) for callback in self.callbacks]
        self._last: list[dict[str, _Kept]] = []
        self._restored: list[set[str]] = [set() for _ in self.callbacks]

    def note_end(self) -> None:
        """Note what a fit leaves, at its end or at an exception."""
        self._last = [self._plain(callback) for callback in self.callbacks]

    def rewind(self) -> None:
        """Undo what an interrupted fit has changed and the present ``on_train_begin`` has not."""
        every = zip(self.callbacks, self._first, self._last, strict=False)
        for callback, first, last in every:
            for name, value in self._plain(callback).items():
                if name not in last or not value.is_like(last[name]):
                    continue
                if name not in first:
                    delattr(callback, name)
                elif not value.is_like(first[name]):
                    _set(callback, name, first[name].value)

    def capture(self, arrays: dict[str, np.ndarray], *, known: Iterable[Any] = ()) -> list[Any]:
        """[[class name, {attribute: value}, states of random generators], ...].

        Args:
            arrays: {key: array}; the arrays move there.
            known: variables that are saved elsewhere, such as the model's.
        """
        ids = {id(variable) for variable in known}
        saved = []
        every = zip(self.callbacks, self._first, self._restored, strict=True)
        for number, (callback, first, restored) in enumerate(every):
            changed = {
                name: kept.value
                for name, kept in self._plain(callback, known=ids).items()
                if name in restored or name not in first or not kept.is_like(first[name])
            }
            entry = [type(callback).__name__, changed, random_state.held(callback)]
            saved.append(take_arrays(entry, f"attributes/{number}", arrays))
        return saved

    def restore(self, saved: Any, arrays: Mapping[str, np.ndarray]) -> list[str]:
        """Restore what `capture` returned.

        Returns:
            The class names of callbacks that had a state and are missing here.
        """
        missing, left = [], list(range(len(self.callbacks)))
        for name, changed, held in put_arrays(saved, arrays):
            same = [number for number in left if type(self.callbacks[number]).__name__ == name]
            if not same:
                missing += [name] if changed or held else []
                continue
            left.remove(same[0])
            callback = self.callbacks[same[0]]
            self._restored[same[0]] |= changed.keys()
            for attribute, value in changed.items():
                _set(callback, attribute, value)
            random_state.restore({"held": held}, callback)
        return missing

    def unsaved(self) -> list[str]:
        """CLASS.ATTRIBUTE of what cannot be saved: iterators and very long containers."""
        return [
            f"{type(callback).__name__}.{name}"
            for callback in self.callbacks
            for name, value in vars(callback).items()
            if name not in self._left_out
            and (isinstance(value, _DRAWN) or _parts(value) > _MOST_PARTS)
        ]

    def _plain(self, callback, *, known=frozenset()):
        """{name: `_Kept`} of the attributes of types that can be saved."""
        found = {}
        for name, value in vars(callback).items():
            if name in self._left_out or self._is_time(value) or _parts(value) > _MOST_PARTS:
                continue
            try:
                found[name] = _Kept(_encode(value, known))
            except TypeError:  # A model, a file, a figure.
                continue
        return found

    def _is_time(self, value):
        if isinstance(value, int):
            return abs(value - time.time_ns()) < 1e9 * _YEARS_S
        readings = zip(_CLOCKS, self._began, strict=True)
        return isinstance(value, float) and (
            abs(value - time.time()) < _YEARS_S
            or any(began <= value <= clock() for clock, began in readings)
        )


class _Kept:
    """An encoded value; of its large arrays it keeps no copy, but sees whether they change."""

    def __init__(self, encoded):
        self._samples = _sampled(encoded)
        self.value = _copied(encoded)

    def is_like(self, other):
        return random_state.same(self._samples, other._samples)


def _sampled(encoded):
    if isinstance(encoded, dict):
        return {name: _sampled(value) for name, value in encoded.items()}
    if isinstance(encoded, list):
        return [_sampled(value) for value in encoded]
    if isinstance(encoded, np.ndarray):
        step = 1 if encoded.nbytes <= _SMALL_BYTES else max(1, encoded.size // _SAMPLES)
        return [str(encoded.dtype), list(encoded.shape), encoded.reshape(-1)[::step].tobytes()]
    return [type(encoded).__name__, encoded]


def _copied(encoded):
    if isinstance(encoded, dict):
        return {name: _copied(value) for name, value in encoded.items()}
    if isinstance(encoded, list):
        return [_copied(value) for value in encoded]
    is_small = isinstance(encoded, np.ndarray) and encoded.nbytes <= _SMALL_BYTES
    return encoded.copy() if is_small else encoded


def _encode(value, known):
    if isinstance(value, (tf.Variable, keras.Variable)):
        if id(value) in known:
            raise TypeError("it is saved elsewhere")
        return {_VARIABLE: np.array(value)}
    if isinstance(value, list):
        return [_encode(part, known) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _encode(part, known) for key, part in value.items()}
    return foreign_state.encode(value)


def _set(callback, name, encoded):
    setattr(callback, name, _put(getattr(callback, name, None), foreign_state.decode(encoded)))


def _put(present, value):
    """A decoded value; variables that exist are assigned to."""
    if isinstance(value, dict) and value.keys() == {_VARIABLE}:
        if not isinstance(present, (tf.Variable, keras.Variable)):
            return tf.Variable(value[_VARIABLE])
        present.assign(value[_VARIABLE])
        return present
    if isinstance(value, dict):
        present = present if isinstance(present, dict) else {}
        parts = {key: _put(present.get(key), part) for key, part in value.items()}
        if type(present) is dict:
            return parts
        present.clear()  # Such as a defaultdict.
        present.update(parts)
        return present
    if isinstance(value, list):
        present = present if isinstance(present, list) else []
        present = [*present, *[None] * len(value)]
        return [_put(old, part) for old, part in zip(present, value, strict=False)]
    return value.copy() if isinstance(value, np.ndarray) else value


def _parts(value):
    """How many parts a nested container has, counted to a few above `_MOST_PARTS`."""
    waiting, count = [value], 0
    while waiting and count <= _MOST_PARTS:
        part = waiting.pop()
        count += 1
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, (list, tuple, set, frozenset)):
            waiting += part
    return count
