"""Batches of arrays in memory, which a graph cuts itself."""

import functools
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
        self._examples = int(tf.nest.flatten(arrays)[0].shape[0])
        self.order = order or functools.partial(tf.range, self._examples, dtype=tf.int64)
        static_size = None if self._examples % batch_size else batch_size
        self.element_spec = tf.nest.map_structure(
            lambda array: tf.TensorSpec((static_size, *array.shape[1:]), array.dtype), arrays
        )

    def __len__(self) -> int:
        """Batches in a pass."""
        return -(-self._examples // self.batch_size)

    def __iter__(self) -> "ArrayPass":
        return ArrayPass(self)


class ArrayWindow(NamedTuple):
    """What a graph cuts the next batches of a pass from.

    Attributes:
        arrays: tensors (n, ...) in any structure.
        order: the order of the pass, int64 (n,).
        place: int64 (1 + arrays,): the number of the next batch in the pass, and for each array the
            batch size. One tensor: each one that a graph is given costs as much time as a small
            operation. A size for each array: where TensorFlow knows that two inputs are equally
            long, it may add them in another order, as it does not with the batches of a pipeline.
    """

    arrays: Any
    order: tf.Tensor
    place: tf.Tensor

    def batch(self, step: Any, spec: Any) -> Any:
        """The batch ``step`` after the first one, structured as the arrays.

        Args:
            step: int32 scalar, from 0.
            spec: the ``tf.TensorSpec`` of each part of a batch.
        """
        first, *sizes = tf.unstack(self.place)
        number = first + tf.cast(step, tf.int64)

        def cut(array, part, size):
            begin = number * size
            return tf.ensure_shape(tf.gather(array, self.order[begin : begin + size]), part.shape)

        sizes = tf.nest.pack_sequence_as(self.arrays, sizes)
        return tf.nest.map_structure(cut, self.arrays, spec, sizes)


def window_spec(batch_spec: Any) -> ArrayWindow:
    """The ``tf.TensorSpec`` of each part of a window on arrays of any length.

    Args:
        batch_spec: the spec of each part of a batch.
    """

    def of_array(part):
        shape = None if part.shape.rank is None else (None, *part.shape[1:])
        return tf.TensorSpec(shape, part.dtype)

    return ArrayWindow(
        tf.nest.map_structure(of_array, batch_spec),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([1 + len(tf.nest.flatten(batch_spec))], tf.int64),
    )


class ArrayPass(Iterator[Any]):
    """One pass over `ArrayBatches`; a graph takes many batches of it at once.

    Attributes:
        element_spec: the ``tf.TensorSpec`` of each part of a batch.
    """

    def __init__(self, batches: ArrayBatches) -> None:
        self._batches = batches
        self.element_spec = batches.element_spec
        self._begin = 0
        self._make_order = batches.order
        self._order: tf.Tensor | None = None
        self._arrays = len(tf.nest.flatten(batches.arrays))

    def set_order(self, order: Order) -> None:
        """Set a function that returns the order of this pass, before its first batch is taken."""
        self._make_order = order

    def take(self, count: int) -> tuple[ArrayWindow, int]:
        """Take the next batches.

        Returns:
            (the `ArrayWindow` to cut them from; how many: fewer than ``count`` at the end).
        """
        if self._order is None:
            self._order = self._make_order()
        batches = self._batches
        window = ArrayWindow(
            batches.arrays,
            self._order,
            # Rows are counted in int64: there may be more than 2**31.
            tf.constant([self._begin] + [batches.batch_size] * self._arrays, tf.int64),
        )
        taken = min(count, len(batches) - self._begin)
        self._begin += taken
        return window, taken

    def __next__(self) -> Any:
        window, taken = self.take(1)
        if not taken:
            raise StopIteration
        return window.batch(0, self.element_spec)
