"""The attributes that a user's callback changes while it trains, saved without a ``state_dict``.

Counters, lists of losses, averages of weights, random generators: what such a callback changes
after ``on_train_begin`` is saved and restored. Attributes that it does not change keep the values
that the program gives them. Readings of a clock are left alone: they mean nothing in another
process. What has changed and cannot be saved is named.
"""

import collections
import contextlib
import dis
import inspect
import itertools
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
_GROWING = (list, dict, set, collections.deque)
_MORE = (dict, list, np.ndarray)  # than a single number or text, as they are saved
_CLOCKS = (time.perf_counter, time.monotonic)
_NAMES_OF_TIMES = re.compile("time|start|beg[iau]n|clock|t0|tic|last|since|stamp", re.IGNORECASE)


class CallbackAttributes:
    """Knows which attributes of a fit's callbacks have changed; create it after ``on_train_begin``.

    Args:
        callbacks: the callbacks whose attributes are saved.
        left_out: returns the names of a callback's attributes that are not looked at.
        interrupted: those of a fit that was interrupted; what it has changed in the same callbacks
            is undone, except what the present ``on_train_begin`` sets.

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

    def __init__(
        self,
        callbacks: Sequence[Any],
        *,
        left_out: Any = lambda callback: (),
        interrupted: "CallbackAttributes | None" = None,
    ) -> None:
        self.callbacks = list(callbacks)
        of_keras = vars(keras.callbacks.Callback()).keys()
        self._left_out = [
            {*of_keras, *_of_this_package(type(callback)), *left_out(callback)}
            for callback in self.callbacks
        ]
        self._began: list[float] = (
            [clock() for clock in _CLOCKS] if interrupted is None else interrupted._began
        )
        self._restored: list[set[str]] = [set() for _ in self.callbacks]
        self._unsaved: set[tuple[int, str]] = set()
        self._first = self._each(Kept)
        self._last: list[dict[str, Any]] = [{} for _ in self.callbacks]
        self._entered: list[dict[str, Kept]] = []
        if interrupted is not None:
            self._rewind(interrupted)
        self._names = [{*self._own(number)} for number in range(len(self.callbacks))]

    def note_end(self) -> None:
        """Note what a fit leaves, at its end or at an exception."""
        self._last = self._each(attribute_values.token)

    def capture(self, arrays: dict[str, np.ndarray], *, known: Iterable[Any] = ()) -> list[Any]:
        """[[class name, {attribute: value}, states of random generators], ...].

        Args:
            arrays: {key: array}; the arrays move there.
            known: variables that are saved elsewhere, such as the model's.
        """
        ids = {id(variable) for variable in known}
        saved = []
        for number, tokens in enumerate(self._each(attribute_values.token)):
            callback, first = self.callbacks[number], self._first[number]
            own, changed = self._own(number), {}
            for name in tokens:
                is_as_at_first = name in first and tokens[name] == first[name].token
                if is_as_at_first and name not in self._restored[number]:
                    continue
                try:
                    changed[name] = attribute_values.encode(
                        own[name], known=ids, package=package_of(type(callback))
                    )
                except Exception:  # Saving must not end a training.
                    self._unsaved.add((number, name))
            self._unsaved |= {(number, name) for name in self._grown(number, own, tokens)}
            entry = [type(callback).__name__, changed, random_state.held(own, depth=1)]
            saved.append(take_arrays(entry, f"attributes/{number}", arrays, are_copies=True))
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
                is_more = held or any(isinstance(value, _MORE) for value in changed.values())
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
                    self._unsaved.discard((number, attribute))
                except Exception:  # Such as an object that the first step makes.
                    self._unsaved.add((number, attribute))
            random_state.restore({"held": held}, self._own(number), depth=1)
        self._entered = self._each(Kept)
        return missing

    def restore_again(self, saved: Any, arrays: Mapping[str, np.ndarray]) -> None:
        """Undo what callbacks have changed since `restore`; what still differs is unsaved."""
        entered = self._entered
        for number, name in self._differing(entered):
            self._put_back(number, name, entered[number][name])
        self.restore(saved, arrays)
        self._unsaved |= self._differing(entered)
        self._entered = []

    def unsaved(self) -> list[str]:
        """CLASS.ATTRIBUTE of iterators, and of what has changed and could not be saved."""
        drawn = {
            (number, name)
            for number in range(len(self.callbacks))
            for name, value in self._own(number).items()
            if isinstance(value, Iterator) and not hasattr(value, "fileno")
        }
        return sorted(
            {f"{type(self.callbacks[n]).__name__}.{name}" for n, name in drawn | self._unsaved}
        )

    def _rewind(self, interrupted):
        """Undo what an interrupted fit has changed and the present ``on_train_begin`` has not."""
        before = {id(callback): n for n, callback in enumerate(interrupted.callbacks)}
        for number, callback in enumerate(self.callbacks):
            if id(callback) not in before:
                continue
            earlier = before[id(callback)]
            first, last = interrupted._first[earlier], interrupted._last[earlier]
            present = self._first[number]
            for name in [n for n in present if n in last and present[n].token == last[n]]:
                if name in first:
                    present[name] = first[name]
                elif name not in interrupted._names[earlier]:
                    delattr(callback, name)
                    del present[name]
                else:  # Its first value was of a type that cannot be kept.
                    self._unsaved.add((number, name))
        for number, name in self._differing(self._first):
            self._put_back(number, name, self._first[number][name])
        self._unsaved |= self._differing(self._first)  # Unless the checkpoint has them.

    def _put_back(self, number, name, kept):
        with contextlib.suppress(Exception):  # What still differs is named.
            setattr(self.callbacks[number], name, kept.put_back())

    def _differing(self, kept):
        """{(number of the callback, attribute), ...} that have other values now."""
        return {
            (number, name)
            for number, tokens in enumerate(self._each(attribute_values.token))
            for name, it in kept[number].items()
            if name in tokens and tokens[name] != it.token
        }

    def _grown(self, number, own, tokens):
        """The containers that were made or changed, and that cannot be looked at now."""
        return [
            name
            for name, value in own.items()
            if isinstance(value, _GROWING)
            and name not in tokens
            and (name in self._first[number] or name not in self._names[number])
        ]

    def _own(self, number):
        """The attributes that the user's program gave a callback, {name: value}."""
        left_out = self._left_out[number]
        return {n: v for n, v in vars(self.callbacks[number]).items() if n not in left_out}

    def _each(self, look):
        """For each callback {name: look(value)} of the attributes whose changes can be seen."""
        found: list[dict[str, Any]] = [{} for _ in self.callbacks]
        known = _of_model(getattr(self.callbacks[0], "model", None)) if found else frozenset()
        for number, seen in enumerate(found):
            package = package_of(type(self.callbacks[number]))
            for name, value in self._own(number).items():
                if not self._is_time(name, value):
                    # A value that cannot be read, such as a tensor of a graph, raises any error.
                    with contextlib.suppress(Exception):
                        seen[name] = look(value, known=known, package=package)
        return found

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


def _of_this_package(kind):
    """The attributes that the base classes of this package set in their methods."""
    methods = [
        inspect.unwrap(method)
        for base in kind.__mro__[1:]
        if package_of(base) == "mnist_keras"
        for method in vars(base).values()
        if inspect.isfunction(method)
    ]
    instructions = itertools.chain.from_iterable(map(dis.get_instructions, methods))
    return {one.argval for one in instructions if one.opname == "STORE_ATTR"}


def _of_model(model):
    """The ids of the variables of a model, its optimizer and its metrics."""
    if model is None:
        return frozenset()
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    return frozenset(map(id, variables + ([] if optimizer is None else optimizer.variables)))
