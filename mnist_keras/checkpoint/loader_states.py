"""The states of data loaders that can say where they are: Grain's, torchdata's, anybody's own."""

import abc
import copy
from typing import Any

import tensorflow as tf

from mnist_keras._keras import EpochIterator
from mnist_keras.checkpoint import foreign_state

_MOST_STATES = 512  # kept of a loader, more than any pipeline reads ahead


def loader_states(epochs: EpochIterator) -> "LoaderStates | None":
    """The `LoaderStates` of data that can say where they are, or None."""
    source = epochs.source
    if epochs.kind == "grain":
        return _OfGrain()
    has_state = hasattr(source, "state_dict") and hasattr(source, "load_state_dict")
    return _OfLoader(source) if epochs.kind == "torch" and has_state else None


class LoaderStates(abc.ABC):
    """The states of a loader after each batch that was drawn, as a pipeline reads ahead."""

    def __init__(self) -> None:
        self._states: dict[int, Any] = {}
        self._start: tuple[int, Any] | None = None

    def begin(self) -> None:
        """A new iterator is about to be drawn from."""
        self._states = {}

    def at(self, draws: int) -> list[Any] | None:
        """(batches drawn, the state then) of the last one not after ``draws``, or None."""
        known = [draw for draw in list(self._states) if draw <= draws]
        return [max(known), foreign_state.encode(self._states[max(known)])] if known else None

    def resume(self, saved: Any) -> int:
        """Begin the next iterator at a saved state; how many batches it leaves out."""
        if saved is None:
            return 0
        self._start = int(saved[0]), foreign_state.decode(saved[1])
        return self._start[0]

    def from_generator(self, generator: Any, *arguments: Any, **options: Any) -> Any:
        """Stands in for ``tf.data.Dataset.from_generator``."""
        return _FROM_GENERATOR(lambda: self._drawn(generator), *arguments, **options)

    @abc.abstractmethod
    def _iterate(self, generator, state):
        """An iterator over what ``generator()`` gives, from a state on, if there is one."""

    @abc.abstractmethod
    def _state(self):
        """The state after the last batch."""

    def _drawn(self, generator):
        start, self._start = self._start, None
        number, state = (0, None) if start is None else start
        states = self._states
        for item in self._iterate(generator, state):
            number += 1
            states[number] = copy.deepcopy(self._state())
            states.pop(number - _MOST_STATES, None)
            yield item


class _OfLoader(LoaderStates):
    """Of a loader with ``state_dict`` and ``load_state_dict``, as torchdata's."""

    def __init__(self, loader):
        super().__init__()
        self._loader = loader

    def _iterate(self, generator, state):
        if state is not None:
            self._loader.load_state_dict(state)
        return generator()

    def _state(self):
        return self._loader.state_dict()


class _OfGrain(LoaderStates):
    """Of Grain's iterators, with ``get_state`` and ``set_state``."""

    _iterator: Any = None

    def _iterate(self, generator, state):
        self._iterator = iter(generator())
        if state is not None:
            self._iterator.set_state(state)
        return self._iterator

    def _state(self):
        return self._iterator.get_state()


_FROM_GENERATOR = tf.data.Dataset.from_generator
