"""Batches of arrays in memory, which a graph cuts itself."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

Order = Callable[[], tf.Tensor]


class ArrayBatches:
    """The batches of arrays that Keras would cut by a tf.data pipeline.

    Each iteration is a pass over the arrays, an `ArrayPass`. A pipeline takes about 10 ms to begin
    a pass, and each of its batches costs as much as a small step of training.

    Args:
        arrays: tensors (n, ...) in any structure.
        batch_size: examples in a batch; the last one may be short.
        order: a function without arguments that returns the order of a pass, int64 (n,); None: the
            order of the arrays.

    Attributes:
        element_spec: the ``tf.TensorSpec`` of each part of a batch.
        static_size: the number of examples in each batch if all are full; else None.

    Example:

    >>> batches = ArrayBatches(tf.range(5), batch_size=2)
    >>> [batch.numpy().tolist() for batch in batches]
    [[0, 1], [2, 3], [4]]
    >>> backwards = ArrayBatches(tf.range(3), batch_size=3, order=lambda: tf.constant([2, 1, 0]))
    >>> next(iter(backwards)).numpy().tolist()
    [2, 1, 0]
    """

    def __init__(self, arrays: Any, *, batch_size: int, order: Order | None = None) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self.order = order
        self._examples = int(tf.nest.flatten(arrays)[0].shape[0])
        self.static_size = None if self._examples % batch_size else batch_size
        self.element_spec = _spec_of_batch(arrays, self.static_size)

    def __len__(self) -> int:
        """Batches in a pass."""
        return -(-self._examples // self.batch_size)

    def __iter__(self) -> "ArrayPass":
        return ArrayPass(self)


class ArrayWindow(NamedTuple):
    """What a graph cuts the next batches of a pass from.

    Attributes:
        arrays: tensors (n, ...) in any structure.
        order: the order of the pass, int64 (n,); None: the order of the arrays.
        place: int64 (2,): the number of the next batch in the pass, and the batch size. One tensor:
            each one that a graph is given costs as much time as a small operation.
        static_size: the number of examples in each batch if all are full; else None.
    """

    arrays: Any
    order: tf.Tensor | None
    place: tf.Tensor
    static_size: int | None

    @property
    def element_spec(self) -> Any:
        """The ``tf.TensorSpec`` of each part of a batch."""
        return _spec_of_batch(self.arrays, self.static_size)

    def batch(self, step: Any) -> Any:
        """The batch ``step`` after the first one, structured as the arrays.

        Args:
            step: int32 scalar, from 0.
        """
        first, size = tf.unstack(self.place)
        begin = (first + tf.cast(step, tf.int64)) * size
        order = None if self.order is None else self.order[begin : begin + size]

        def part(array):
            own = array[begin : begin + size] if order is None else tf.gather(array, order)
            return tf.ensure_shape(own, (self.static_size, *array.shape[1:]))

        return tf.nest.map_structure(part, self.arrays)


class ArrayPass(Iterator[Any]):
    """One pass over `ArrayBatches`; a graph takes many batches of it at once."""

    def __init__(self, batches: ArrayBatches) -> None:
        self._batches = batches
        self._begin = 0
        self._make_order = batches.order
        self._order: tf.Tensor | None = None

    def set_order(self, order: Order) -> None:
        """Set a function that returns the order of this pass, before its first batch is taken."""
        self._make_order = order

    def take(self, count: int) -> tuple[ArrayWindow, int]:
        """Take the next batches.

        Returns:
            (the `ArrayWindow` to cut them from; how many: fewer than ``count`` at the end).
        """
        if self._order is None and self._make_order is not None:
            self._order = self._make_order()
        batches = self._batches
        window = ArrayWindow(
            batches.arrays,
            self._order,
            # Rows are counted in int64: there may be more than 2**31.
            tf.constant([self._begin, batches.batch_size], tf.int64),
            batches.static_size,
        )
        taken = min(count, len(batches) - self._begin)
        self._begin += taken
        return window, taken

    def __next__(self) -> Any:
        window, taken = self.take(1)
        if not taken:
            raise StopIteration
        return window.batch(0)


def _spec_of_batch(arrays, static_size):
    return tf.nest.map_structure(
        lambda array: tf.TensorSpec((static_size, *array.shape[1:]), array.dtype), arrays
    )
