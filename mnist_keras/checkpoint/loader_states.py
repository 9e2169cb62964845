"""The states of data loaders that can save their position: Grain, torchdata and custom ones."""

import abc
import copy
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mnist_keras._keras import EpochIterator
from mnist_keras.checkpoint import foreign_state

_MOST_STATES = 512  # kept per loader; more than any pipeline reads ahead


def loader_states(epochs: EpochIterator) -> "LoaderStates | None":
    """The `LoaderStates` of data that can save its position, or None."""
    source = epochs.source
    if epochs.kind == "grain":
        return _OfGrain()
    has_state = hasattr(source, "state_dict") and hasattr(source, "load_state_dict")
    return _OfLoader(source) if epochs.kind == "torch" and has_state else None


class LoaderStates(abc.ABC):
    """The states of a loader after each drawn batch.

    A pipeline reads ahead, so the loader's present state is not the state after the trained batch.
    """

    def __init__(self) -> None:
        self._states: dict[int, Any] = {}
        self._start: tuple[int, Any, Callable[[], object]] | None = None

    def begin(self) -> None:
        """Forget the states of the previous iterator; called before a new one is drawn from."""
        self._states = {}
        self._start = None  # No batch of that iterator was left to draw.

    def at(self, draws: int) -> list[Any] | None:
        """[batches drawn, state] of the latest state at or before ``draws`` batches, or None."""
        known = [draw for draw in list(self._states) if draw <= draws]
        return [max(known), foreign_state.encode(self._states[max(known)])] if known else None

    def resume(self, saved: Any, *, then: Callable[[], object]) -> int:
        """Begin the present iterator at a saved state; returns how many batches are skipped.

        Args:
            saved: what `at` returned.
            then: called after the first batch. A loader draws from its generators when it begins,
                also where its state holds what it drew before.
        """
        if saved is None:
            return 0
        self._start = int(saved[0]), foreign_state.decode(saved[1]), then
        return self._start[0]

    def from_generator(self, generator: Any, *arguments: Any, **options: Any) -> Any:
        """Replaces ``tf.data.Dataset.from_generator``."""
        return _FROM_GENERATOR(lambda: self._drawn(generator), *arguments, **options)

    @abc.abstractmethod
    def _iterate(self, generator, number, state):
        """An iterator over ``generator()``; with a state it starts after ``number`` batches."""

    @abc.abstractmethod
    def _state(self):
        """The state after the last batch."""

    def _drawn(self, generator):
        start, self._start = self._start, None
        number, state, then = (0, None, None) if start is None else start
        states = self._states
        for item in self._iterate(generator, number, state):
            if then is not None:
                then()
                then = None
            number += 1
            states[number] = copy.deepcopy(self._state())
            states.pop(number - _MOST_STATES, None)
            yield item


class _OfLoader(LoaderStates):
    """For a loader with ``state_dict`` and ``load_state_dict``, such as torchdata's."""

    def __init__(self, loader):
        super().__init__()
        self._loader = loader

    def _iterate(self, generator, number, state):
        if state is not None:
            self._loader.load_state_dict(state)
        return generator()

    def _state(self):
        return self._loader.state_dict()


class _OfGrain(LoaderStates):
    """For Grain's iterators, with ``get_state`` and ``set_state``."""

    _iterator: Any = None

    def _iterate(self, generator, number, state):
        self._iterator = iter(generator())
        if state is not None:
            try:
                self._iterator.set_state(state)
            except ValueError:  # Grain compares the repr of objects, which may hold addresses.
                self._iterator = iter(generator())
                for _ in range(number):
                    next(self._iterator)
        return self._iterator

    def _state(self):
        return self._iterator.get_state()


_FROM_GENERATOR = tf.data.Dataset.from_generator
