"""The states of data loaders that can save their position: Grain, torchdata and custom ones."""

import abc
import copy
import dataclasses
from typing import Any

import tensorflow as tf

from mnist_keras._keras import EpochIterator
from mnist_keras.checkpoint import foreign_state, random_state

_MOST_STATES = 512  # kept per loader; more than any pipeline reads ahead
_SHARED = ("python", "numpy")  # generators of the process that a data set may draw from


def loader_states(epochs: EpochIterator) -> "LoaderStates | None":
    """The `LoaderStates` of data that can save its position, or None."""
    source = epochs.source
    if epochs.kind == "grain":
        return _OfGrain()
    has_state = hasattr(source, "state_dict") and hasattr(source, "load_state_dict")
    return _OfLoader(source) if epochs.kind == "torch" and has_state else None


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """What is known after a number of batches.

    Attributes:
        number: the batches drawn.
        state: the loader's state; None: no batch was drawn.
        random: the states of the random generators; None: the loader's state holds them.
    """

    number: int
    state: Any
    random: dict[str, Any] | None

    def saved(self) -> list[Any]:
        return [self.number, foreign_state.encode(self.state), self.random]

    @classmethod
    def loaded(cls, number: Any, state: Any, random: Any) -> "_Drawn":
        return cls(int(number), foreign_state.decode(state), random)


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where an iterator begins, and where it has its generators restored once more."""

    first: _Drawn
    then: _Drawn | None = None


class LoaderStates(abc.ABC):
    """The states of a loader after each drawn batch.

    A pipeline reads ahead, so the present state of the loader, and of the generators that its data
    set draws from, is not the state after the trained batch.
    """

    def __init__(self, *owners: Any) -> None:
        self._owners = owners  # Their generators are restored too.
        self._drawn_batches: dict[int, _Drawn] = {}
        self._start: _Start | None = None

    def begin(self) -> None:
        """Forget the states of the previous iterator; called before a new one is drawn from."""
        self._drawn_batches = {}
        self._start = None  # No batch of that iterator was left to draw.

    def at(self, draws: int) -> list[Any] | None:
        """The latest state at or before ``draws`` batches, for `resume`; None if there is none.

        Returns:
            [batches drawn, the loader's state, the generators' states or None, None or these three
            of an earlier batch].
        """
        known = dict(self._drawn_batches)
        number = max((number for number in known if 0 < number <= draws), default=None)
        if number is None:
            return None
        before = known.get(self._beginning_before(number))
        return [*known[number].saved(), before and before.saved()]

    def resume(self, saved: Any) -> int:
        """Begin the present iterator at a saved state; returns how many batches are skipped.

        A loader draws from its generators when it begins, also where its state holds what it drew
        before. So it begins earlier if it can. Some batches are drawn again, which shows whether
        they are the same, and then the generators are restored.

        Args:
            saved: what `at` returned.
        """
        if saved is None:
            return 0
        at, before = _Drawn.loaded(*saved[:3]), saved[3]
        self._start = _Start(at) if before is None else _Start(_Drawn.loaded(*before), at)
        return self._start.first.number

    def from_generator(self, generator: Any, *arguments: Any, **options: Any) -> Any:
        """Replaces ``tf.data.Dataset.from_generator``."""
        return _FROM_GENERATOR(lambda: self._drawn(generator), *arguments, **options)

    @abc.abstractmethod
    def _iterate(self, generator, number, state):
        """An iterator over ``generator()``; with a state it starts after ``number`` batches."""

    @abc.abstractmethod
    def _next(self, iterator):
        """The next batch."""

    @abc.abstractmethod
    def _state(self):
        """The loader's state after the last batch."""

    def _beginning_before(self, number):
        """The batch before ``number`` at which to begin, or None."""
        return None

    def _random(self):
        """The states of the generators that the loader draws from."""
        return None

    def _restore(self, random):
        if random is not None:
            random_state.restore(random, *self._owners)

    def _drawn(self, generator):
        start, self._start = self._start, None
        drawn_batches, then = self._drawn_batches, None
        if start is None:
            iterator = self._iterate(generator, 0, None)
            drawn = _Drawn(0, None, self._random())
        else:
            drawn, then = start.first, start.then
            iterator = self._iterate(generator, drawn.number, drawn.state)
            self._restore(drawn.random)
        while True:
            drawn_batches[drawn.number] = drawn
            drawn_batches.pop(drawn.number - _MOST_STATES, None)
            try:
                item = self._next(iterator)
            except StopIteration:
                return
            number = drawn.number + 1
            drawn = _Drawn(number, copy.deepcopy(self._state()), self._random())
            if then is not None and then.number == number:
                self._restore(then.random)
                drawn = dataclasses.replace(drawn, random=then.random)
            yield item


class _OfLoader(LoaderStates):
    """For a loader with ``state_dict`` and ``load_state_dict``, such as torchdata's."""

    def __init__(self, loader):
        super().__init__(loader)
        self._loader = loader
        # The process's generators that each batch so far was drawn with. Callbacks and steps may
        # draw from the others at any time, while the loader reads ahead.
        self._used = set(_SHARED)

    def _iterate(self, generator, number, state):
        self._used = set(_SHARED)
        if state is not None:
            self._loader.load_state_dict(state)
            self._loader.state_dict()  # torchdata's begins here, which draws from its generators.
        return iter(generator())

    def _beginning_before(self, number):
        workers = getattr(self._loader, "num_workers", 0)
        if number > max(workers, 1):
            return number - 1
        # torchdata saves no generators of its workers. A batch that is the first of its worker does
        # not show that. An own loader's order may depend on its earlier epochs.
        is_torchdata = type(self._loader).__module__.startswith("torchdata.")
        return 0 if workers and is_torchdata else None

    def _next(self, iterator):
        if not self._used:  # A capture copies the states of all generators.
            return next(iterator)
        before = random_state.capture()
        item = next(iterator)
        after = random_state.capture()
        self._used -= {name for name in _SHARED if random_state.same(before[name], after[name])}
        return item

    def _state(self):
        return self._loader.state_dict()

    def _random(self):
        unused = {"tensorflow", *_SHARED} - self._used
        states = random_state.capture(self._loader)
        return {name: state for name, state in states.items() if name not in unused}


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

    def _next(self, iterator):
        return next(iterator)

    def _state(self):
        return self._iterator.get_state()


_FROM_GENERATOR = tf.data.Dataset.from_generator
