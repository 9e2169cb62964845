"""The last saved state of a tf.data iterator."""

import time
from collections.abc import Callable
from typing import Any

from mnist_keras.checkpoint import iterator_state

# Drawing again costs less than saving a larger state, such as a shuffle's buffer.
_MOST_BYTES = 2**24
_COST = 0.01  # of the time


class SavedIterator:
    """Saves the state of an iterator, but only as often as it takes 1 % of the time.

    The buffer of a shuffle can take as long as the training between two checkpoints. Then some
    checkpoints get the state that was saved before, and a resume draws the batches since then.

    Args:
        can_save: whether it saves at all.
        clock: a function that returns seconds.

    Attributes:
        new: the state of the newest iterator before its first batch, or None.

    Example:

    >>> import tensorflow as tf
    >>> seconds = iter([0.0, 0.5, 1.0, 50.5, 51.0]).__next__
    >>> saved, iterator = SavedIterator(clock=seconds), iter(tf.data.Dataset.range(9))
    >>> for draws in (1, 2, 3):
    ...     _ = next(iterator)
    ...     print(saved.at(iterator, draws)[1])
    1
    1
    3
    """

    def __init__(
        self, *, can_save: bool = True, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.new: bytes | None = None
        self._can_save = can_save
        self._is_large = False
        self._clock = clock
        self._state: bytes | None = None
        self._draws = 0
        self._due = 0.0

    def begin(self, iterator: Any) -> None:
        """Note a new iterator, from which no batch was drawn."""
        self._state = self.new = self._save(iterator)
        self._draws = 0

    def at(self, iterator: Any, draws: int) -> tuple[bytes | None, int]:
        """The last saved state of the newest iterator, which may be the one it has now.

        Args:
            iterator: the newest iterator.
            draws: how many batches were drawn from it.

        Returns:
            (the state, or None if it cannot be saved; how many batches were drawn until then).
        """
        began = self._clock()
        if not self._is_large and began >= self._due:
            state = self._save(iterator)
            self._is_large = state is not None and len(state) > _MOST_BYTES
            if state is not None and not self._is_large:
                self.set(state, draws)
                ended = self._clock()
                self._due = ended + (ended - began) / _COST
        return self._state, self._draws

    def set(self, state: bytes, draws: int) -> None:
        """Note the state of the newest iterator after ``draws`` batches."""
        self._state, self._draws = state, draws

    def _save(self, iterator):
        state = iterator_state.save(iterator) if self._can_save else None
        self._can_save = state is not None
        return state
