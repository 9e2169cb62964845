"""Notes which batches a program draws from an iterator in Python."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def watch(iterator: Any, note: Callable[[Any], Any]) -> Callable[[], None]:
    """Call ``note(batch)`` for each batch that Python code draws from an iterator.

    It stays an iterator of its kind, which graphs take as before. What they draw is not noted.

    Args:
        iterator: a ``tf.data.Iterator`` or a ``tf.distribute.DistributedIterator``.
        note: called after a batch is drawn.

    Returns:
        A function that ends it.

    Example:

    >>> batches, seen = iter(tf.data.Dataset.range(5)), []
    >>> end = watch(batches, lambda batch: seen.append(int(batch)))
    >>> _ = next(batches), batches.get_next(), tf.function(lambda it: next(it))(batches)
    >>> _ = tf.function(lambda: next(batches))()
    >>> end()
    >>> _ = next(batches)
    >>> seen, isinstance(batches, tf.data.Iterator)
    ([0, 1], True)
    """
    kind: Any = type(iterator)

    class Watched(kind):
        def __next__(self):
            return drawn(super().__next__)

        def get_next(self):
            return drawn(super().get_next)

        def get_next_as_optional(self):
            optional = super().get_next_as_optional()
            if tf.executing_eagerly() and optional.has_value():
                note(optional.get_value())
            return optional

    inside = []  # Of a strategy's iterator, __next__ calls get_next.

    def drawn(draw):
        inside.append(draw)
        try:
            batch = draw()
        finally:
            inside.pop()
        if not inside and tf.executing_eagerly():
            note(batch)
        return batch

    def end():
        iterator.__class__ = kind

    # A wrapper would be another type to a tf.function, and to a program that asks for the type.
    iterator.__class__ = Watched
    return end
