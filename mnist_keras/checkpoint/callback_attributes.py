"""The attributes that a user's callback changes while it trains, saved without a ``state_dict``.

Counters, lists of losses, averages of weights, random generators: what such a callback changes
after ``on_train_begin`` is saved and restored. What it leaves is the program's. Objects of other
types are left alone, and so are readings of a clock, which mean nothing in another process.
"""

import collections
import contextlib
import copy
import itertools
import time
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.checkpoint import foreign_state, random_state
from mnist_keras.checkpoint.nested import put_arrays, take_arrays

_MOST_PARTS = 100_000  # of a container, without lists of numbers
_LONG = 1000  # Longer containers are compared by their length and their ends,
_SMALL_BYTES = 2**20  # larger arrays by samples.
_SAMPLES = 4096
_YEARS_S = 1e8
_CLOCKS = (time.perf_counter, time.monotonic)
_DRAWN = (types.GeneratorType, tf.data.Iterator)
_CONTAINERS = (list, tuple, set, collections.deque)
_VARIABLES = (tf.Variable, keras.Variable)
_VARIABLE, _NUMBERS = "__variable__", "__numbers__"


class _TooLongError(Exception):
    """A container has too many parts."""


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
        self._first = [self._kept(callback) for callback in self.callbacks]
        self._last: list[dict[str, _Kept]] = []
        self._restored: list[set[str]] = [set() for _ in self.callbacks]
        self._too_long: set[str] = set()

    def note_end(self) -> None:
        """Note what a fit leaves, at its end or at an exception."""
        self._last = [self._kept(callback) for callback in self.callbacks]

    def rewind(self) -> None:
        """Undo what an interrupted fit has changed and the present ``on_train_begin`` has not."""
        every = zip(self.callbacks, self._first, self._last, strict=False)
        for callback, first, last in every:
            for name, value in self._kept(callback).items():
                if name not in last or value.token != last[name].token:
                    continue
                if name not in first:
                    delattr(callback, name)
                elif value.token != first[name].token:
                    setattr(callback, name, _copied(first[name].value))

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
            changed = {}
            for name, kept in self._kept(callback).items():
                if name not in restored and name in first and kept.token == first[name].token:
                    continue
                try:
                    changed[name] = _encode(kept.value, ids)
                except _TooLongError:
                    self._too_long.add(f"{type(callback).__name__}.{name}")
                except TypeError:  # It holds a model, a file, a figure.
                    continue
            entry = [type(callback).__name__, changed, random_state.held(self._own(callback))]
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
            random_state.restore({"held": held}, self._own(callback))
        return missing

    def unsaved(self) -> list[str]:
        """CLASS.ATTRIBUTE of iterators, and of containers too long for the last `capture`."""
        drawn = [
            f"{type(callback).__name__}.{name}"
            for callback in self.callbacks
            for name, value in self._own(callback).items()
            if isinstance(value, _DRAWN)
        ]
        return [*drawn, *sorted(self._too_long)]

    def _own(self, callback):
        """The attributes that the user's program gave a callback, {name: value}."""
        return {n: value for n, value in vars(callback).items() if n not in self._left_out}

    def _kept(self, callback):
        """{name: `_Kept`} of the attributes of types that can be saved."""
        found = {}
        for name, value in self._own(callback).items():
            if not self._is_time(value):
                with contextlib.suppress(TypeError):
                    found[name] = _Kept(value)
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
    """A value, and a token that differs once the value has changed.

    Raises:
        TypeError: nothing can tell whether the value has changed.
    """

    def __init__(self, value):
        self.token = _token(value)
        self.value = _copied(value)


def _token(value):
    if isinstance(value, dict):
        if len(value) > _LONG:
            return len(value), *_token(list(value.items())[:: len(value) - 1])
        return tuple((key, _token(part)) for key, part in value.items())
    if isinstance(value, _CONTAINERS):
        if len(value) > _LONG:
            ends = () if isinstance(value, set) else (id(value[0]), id(value[-1]))
            return type(value), len(value), *ends
        return type(value), *map(_token, value)
    if isinstance(value, (*_VARIABLES, tf.Tensor, np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError("it may hold anything")
        step = 1 if array.nbytes <= _SMALL_BYTES else max(1, array.size // _SAMPLES)
        return str(array.dtype), array.shape, array.reshape(-1)[::step].tobytes()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return type(value), repr(value) if isinstance(value, float) else value
    raise TypeError("its changes cannot be seen")


def _copied(value):
    """A copy of a value, which shares its large arrays."""
    if type(value) is dict:
        return {key: _copied(part) for key, part in value.items()}
    if type(value) is list and len(value) <= _LONG:
        return [_copied(part) for part in value]
    if isinstance(value, (dict, *_CONTAINERS)):
        return copy.copy(value)
    is_small = isinstance(value, np.ndarray) and value.nbytes <= _SMALL_BYTES
    return value.copy() if is_small else value


def _encode(value, known, parts=None):
    parts = itertools.count() if parts is None else parts
    if next(parts) > _MOST_PARTS:
        raise _TooLongError
    if isinstance(value, _VARIABLES):
        if id(value) in known:
            raise TypeError("it is saved elsewhere")
        return {_VARIABLE: np.array(value)}
    if isinstance(value, list):
        if len(value) > _LONG and {*map(type, value)} == {float}:
            return {_NUMBERS: np.array(value)}
        return [_encode(part, known, parts) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _encode(part, known, parts) for key, part in value.items()}
    return foreign_state.encode(value)


def _set(callback, name, encoded):
    setattr(callback, name, _put(getattr(callback, name, None), foreign_state.decode(encoded)))


def _put(present, value):
    """A decoded value; variables that exist are assigned to."""
    if isinstance(value, dict) and value.keys() == {_NUMBERS}:
        return value[_NUMBERS].tolist()
    if isinstance(value, dict) and value.keys() == {_VARIABLE}:
        if not isinstance(present, _VARIABLES):
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
