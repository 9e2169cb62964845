"""The attributes that a user's callback changes while it trains, saved without a ``state_dict``.

Counters, lists of losses, averages of weights, random generators: what such a callback changes
after ``on_train_begin`` is saved and restored. Attributes that it does not change keep the values
that the program gives them. Readings of a clock are left alone: they mean nothing in another
process. What has changed and cannot be saved is named.
"""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mnist_keras.checkpoint import attribute_values, random_state
from mnist_keras.checkpoint.attribute_values import Kept, package_of
from mnist_keras.checkpoint.nested import put_arrays, take_arrays

_YEARS_S = 1e8
_CLOCKS = (time.perf_counter, time.monotonic)
_NAMES_OF_TIMES = re.compile("time|start|beg[iau]n|clock|t0|tic|last|since|stamp", re.IGNORECASE)


class CallbackAttributes:
    """Knows which attributes of a fit's callbacks have changed; create it after ``on_train_begin``.

    Args:
        callbacks: the callbacks whose attributes are saved.
        left_out: returns the names of a callback's attributes that are not looked at.

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

    def __init__(self, callbacks: Sequence[Any], *, left_out: Any = lambda callback: ()) -> None:
        self.callbacks = list(callbacks)
        of_keras = vars(keras.callbacks.Callback()).keys()
        self._left_out = [{*of_keras, *left_out(callback)} for callback in self.callbacks]
        self._began = [clock() for clock in _CLOCKS]
        self._first = self._kept()
        self._last: list[dict[str, Kept]] = []
        self._entered: list[dict[str, Kept]] = []
        self._restored: list[set[str]] = [set() for _ in self.callbacks]
        self._unsaved: set[str] = set()

    def note_end(self) -> None:
        """Note what a fit leaves, at its end or at an exception."""
        self._last = self._kept()

    def rewind(self) -> None:
        """Undo what an interrupted fit has changed and the present ``on_train_begin`` has not."""
        every = zip(self.callbacks, self._kept(), self._first, self._last, strict=False)
        for callback, present, first, last in every:
            for name, value in present.items():
                if name not in last or value.token != last[name].token:
                    continue
                if name not in first:
                    delattr(callback, name)
                elif value.token != first[name].token:
                    setattr(callback, name, first[name].copy())

    def capture(self, arrays: dict[str, np.ndarray], *, known: Iterable[Any] = ()) -> list[Any]:
        """[[class name, {attribute: value}, states of random generators], ...].

        Args:
            arrays: {key: array}; the arrays move there.
            known: variables that are saved elsewhere, such as the model's.
        """
        ids = {id(variable) for variable in known}
        saved = []
        every = zip(self.callbacks, self._kept(), self._first, self._restored, strict=True)
        for number, (callback, present, first, restored) in enumerate(every):
            changed = {}
            for name, kept in present.items():
                if name not in restored and name in first and kept.token == first[name].token:
                    continue
                try:
                    changed[name] = attribute_values.encode(
                        kept.value, known=ids, package=package_of(type(callback))
                    )
                except Exception:  # Saving must not end a training.
                    self._unsaved.add(f"{type(callback).__name__}.{name}")
            held = random_state.held(self._own(number), depth=1)
            entry = [type(callback).__name__, changed, held]
            saved.append(take_arrays(entry, f"attributes/{number}", arrays))
        return saved

    def restore(self, saved: Any, arrays: Mapping[str, np.ndarray]) -> list[str]:
        """Restore what `capture` returned.

        Returns:
            The class names of callbacks that had a state of more than single numbers and texts, and
            are missing here.
        """
        missing, left = [], list(range(len(self.callbacks)))
        for name, changed, held in put_arrays(saved, arrays):
            same = [number for number in left if type(self.callbacks[number]).__name__ == name]
            if not same:
                # One that only counts, as one that ends a training, may be left out.
                is_more = held or any(isinstance(value, (dict, list)) for value in changed.values())
                missing += [name] if is_more else []
                continue
            number = same[0]
            left.remove(number)
            callback = self.callbacks[number]
            self._restored[number] |= changed.keys()
            for attribute, value in changed.items():
                present = getattr(callback, attribute, None)
                try:
                    setattr(callback, attribute, attribute_values.put(present, value))
                except Exception:  # Such as an object that the first step makes.
                    self._unsaved.add(f"{name}.{attribute}")
            random_state.restore({"held": held}, self._own(number), depth=1)
        self._entered = self._kept()
        return missing

    def restore_again(self, saved: Any, arrays: Mapping[str, np.ndarray]) -> None:
        """Undo what callbacks have changed since `restore`."""
        for callback, present, entered in zip(
            self.callbacks, self._kept(), self._entered, strict=False
        ):
            for name, value in present.items():
                if name in entered and value.token != entered[name].token:
                    setattr(callback, name, entered[name].copy())
        self.restore(saved, arrays)

    def unsaved(self) -> list[str]:
        """CLASS.ATTRIBUTE of iterators, and of what has changed and could not be saved."""
        drawn = {
            f"{type(callback).__name__}.{name}"
            for number, callback in enumerate(self.callbacks)
            for name, value in self._own(number).items()
            if isinstance(value, Iterator) and not hasattr(value, "fileno")
        }
        return sorted(drawn | self._unsaved)

    def _own(self, number):
        """The attributes that the user's program gave a callback, {name: value}."""
        left_out = self._left_out[number]
        return {n: v for n, v in vars(self.callbacks[number]).items() if n not in left_out}

    def _kept(self):
        """For each callback {name: `Kept`} of the attributes whose changes can be seen."""
        kept: list[dict[str, Kept]] = [{} for _ in self.callbacks]
        known = _of_model(getattr(self.callbacks[0], "model", None)) if kept else frozenset()
        for number, found in enumerate(kept):
            package = package_of(type(self.callbacks[number]))
            for name, value in self._own(number).items():
                if not self._is_time(name, value):
                    # A value that cannot be read, such as a tensor of a graph, raises any error.
                    with contextlib.suppress(Exception):
                        found[name] = Kept(value, known=known, package=package)
        return kept

    def _is_time(self, name, value):
        if isinstance(value, int):
            return abs(value - time.time_ns()) < 1e9 * _YEARS_S
        if not isinstance(value, float):
            return False
        readings = zip(_CLOCKS, self._began, strict=True)
        return abs(value - time.time()) < _YEARS_S or (
            _NAMES_OF_TIMES.search(name) is not None
            and any(began <= value <= clock() for clock, began in readings)
        )


def _of_model(model):
    """The ids of the variables of a model and its optimizer."""
    holders = [
        holder for holder in (model, getattr(model, "optimizer", None)) if holder is not None
    ]
    return frozenset(id(variable) for holder in holders for variable in holder.variables)
