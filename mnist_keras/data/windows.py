"""The examples that a stream cuts its batches from: all on the device, or some at a time.

`Held` and `Mapped` each give a `Window` for the next steps.
"""

import hashlib
import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mnist_keras.data.sharded import those_here
from mnist_keras.distributed.batch_shards import UNSHARDED

_READ_AT_ONCE_BYTES = 2**26
_SAMPLED_EXAMPLES = 65_536


class Window(NamedTuple):
    """Examples on the device, enough for some steps of one epoch.

    Attributes:
        images: uint8 (m, height, width) or (m, height, width, channels).
        labels: uint8 or int32 (m,).
        order: int32 (k,), the indices into ``images`` in the order of training, from example
            ``first`` of the epoch on; (0,): the images are in the order of training.
        first: int32 scalar, an index among the examples of the epoch, or among those of a worker's
            share where a worker reads only its share.
        epoch: int32 scalar, from 0.
    """

    images: tf.Tensor
    labels: tf.Tensor
    order: tf.Tensor
    first: tf.Tensor
    epoch: tf.Tensor

    @staticmethod
    def spec(image_shape, label_dtype):
        """The ``tf.TensorSpec`` of each part."""
        return Window(
            tf.TensorSpec((None, *image_shape), tf.uint8),
            tf.TensorSpec((None,), label_dtype),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.int32),
        )


class Held:
    """All examples, kept on the device.

    Args:
        images: uint8 (n, height, width) or (n, height, width, channels), NumPy.
        labels: uint8 or int32 (n,), NumPy.
        order: a function from the epoch to its order, int32 (n,); None: the order of the arrays.
    """

    def __init__(self, images, labels, *, order):
        self._images = tf.constant(images, tf.uint8)
        self._labels = tf.constant(labels)
        self._order = order
        self._present = None

    share = UNSHARDED
    error = None

    def read_share(self, share, *, batch_size):
        """Does nothing: every worker holds all examples, and each replica cuts its part."""

    @property
    def image_shape(self):
        """(height, width) or (height, width, channels)."""
        return tuple(self._images.shape[1:])

    @property
    def window_spec(self):
        """The ``tf.TensorSpec`` of its windows."""
        return Window.spec(self.image_shape, self._labels.dtype)

    def digest(self):
        """The sha256 of all examples, in hexadecimal."""
        digest = hashlib.sha256(memoryview(self._images))  # numpy() would copy them.
        digest.update(memoryview(self._labels))
        return digest.hexdigest()

    def part(self, begin, end):
        """The examples from ``begin`` to before ``end``, a `Mapped`."""
        images, labels = (np.asarray(memoryview(it)) for it in (self._images, self._labels))
        return Mapped(images[begin:end], labels[begin:end], order=None)

    def window(self, epoch, begin, end, *, size):
        """A `Window` of the examples from ``begin`` to before ``end`` of an epoch, and its end.

        The window ends at ``end``, or earlier at the end of a batch of ``size``.
        """
        del begin, size
        if self._present is None or int(self._present.epoch) != epoch:
            order = np.zeros(0, np.int32) if self._order is None else self._order(epoch)
            self._present = self._window(tf.constant(order), tf.constant(epoch))
        return self._present, end

    def windows_in_graph(self, epoch, size):
        """A function from a step to its `Window`, inside a graph; ``epoch`` is a tensor."""
        del size
        order, order_of = tf.zeros([0], tf.int32), self._order
        if order_of is not None:
            order = tf.numpy_function(lambda epoch: order_of(int(epoch)), [epoch], tf.int32)
        window = self._window(tf.ensure_shape(order, [None]), epoch)
        return lambda step: window

    def _window(self, order, epoch):
        return Window(self._images, self._labels, order, tf.constant(0), epoch)

    def close(self):
        """Does nothing: nothing is open."""


class Mapped:
    """Examples that stay in a file and are read some steps ahead.

    Args:
        images: uint8 (n, height, width) or (n, height, width, channels), a ``np.memmap`` or
            another object that is indexed like one.
        labels: uint8 or int32 (n,), NumPy.
        order: as for `Held`.

    Attributes:
        error: the exception of a read inside a graph, which TensorFlow replaces by its own; None.
    """

    error: BaseException | None = None

    def __init__(self, images, labels, *, order):
        self._images = images
        self._labels = labels
        self._count = len(self._labels)
        self._order = order
        self._ahead = None
        self.share = UNSHARDED
        self._batch_size = None

    def read_share(self, share, *, batch_size):
        """Read only a worker's part of each batch from now on.

        Args:
            share: a `mnist_keras.distributed.batch_shards.BatchShard`.
            batch_size: examples in a full batch.
        """
        self.close()
        self.share, self._batch_size = share, batch_size

    @property
    def image_shape(self):
        """As `Held.image_shape`."""
        return tuple(self._images.shape[1:])

    @property
    def window_spec(self):
        """As `Held.window_spec`."""
        return Window.spec(self.image_shape, self._labels.dtype)

    def digest(self):
        """The sha256 of evenly spaced images, all images of a small file, and of all labels."""
        sample = np.linspace(0, self._count - 1, min(self._count, _SAMPLED_EXAMPLES))
        digest = hashlib.sha256()
        for rows in np.array_split(sample.astype(np.int64), -(-len(sample) // 1024)):
            digest.update(np.ascontiguousarray(self._images[rows]).data)
        digest.update(np.ascontiguousarray(self._labels).data)
        return digest.hexdigest()

    def part(self, begin, end):
        """As `Held.part`."""
        return Mapped(self._images[begin:end], self._labels[begin:end], order=None)

    @property
    def is_here(self):
        """Whether all examples can be read."""
        return len(those_here(self._images, self._labels)[1]) == self._count

    def window(self, epoch, begin, end, *, size):
        """As `Held.window`; it ends earlier where the examples would take too much memory."""
        width = max(1, self.share.size(size))
        batches = max(1, _READ_AT_ONCE_BYTES // (width * int(np.prod(self.image_shape))))
        end = min(end, begin + batches * size)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.covers(epoch, begin, end):
            window = ahead.result()
        else:
            window = self._read(epoch, begin, end)
        next_epoch, next_begin = (epoch, end) if end < self._count else (epoch + 1, 0)
        # Read ahead entire batches: a worker's part of a shorter batch has other examples.
        next_end = min(next_begin + -(-(end - begin) // size) * size, self._count)
        self._ahead = _Ahead(self._read, next_epoch, next_begin, next_end)
        return window, end

    def windows_in_graph(self, epoch, size):
        """As `Held.windows_in_graph`; ``size`` is the number of examples in a batch."""

        spec = self.window_spec

        def read(epoch, step):
            begin = int(step) * size
            try:
                window = self._read(int(epoch), begin, min(begin + size, self._count))
            except Exception as error:
                self.error = error
                raise
            return [part.numpy() for part in window]

        def window(step):
            parts = tf.numpy_function(read, [epoch, step], [part.dtype for part in spec])
            return Window(
                *(tf.ensure_shape(part, it.shape) for part, it in zip(parts, spec, strict=True))
            )

        return window

    def _read(self, epoch, begin, end):
        first, places = begin, slice(begin, end)
        order: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        if self.share != UNSHARDED:
            size = self._batch_size
            places = self.share.positions(begin, end, batch_size=size)
            first = begin // size * self.share.size(size)
        if self._order is None:
            rows = places
        else:
            rows = self._order(epoch)[places]
            # A disk is fastest when it is read from front to back.
            ascending = np.argsort(rows)
            rows, order = rows[ascending], np.argsort(ascending).astype(np.int32)
        return Window(
            tf.constant(np.asarray(self._images[rows])),
            tf.constant(self._labels[rows]),
            tf.constant(order),
            tf.constant(first),
            tf.constant(epoch),
        )

    def close(self):
        """Stop reading ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.join()


class _Ahead(threading.Thread):
    """Reads a window while the steps of the previous one run."""

    def __init__(self, read, epoch, begin, end):
        super().__init__(name="read-ahead", daemon=True)
        self._read, self._asked = read, (epoch, begin, end)
        self._window = self._error = None
        self.start()

    def run(self):
        try:
            self._window = self._read(*self._asked)
        except Exception as error:  # `result` raises it.
            self._error = error

    def covers(self, epoch, begin, end):
        """Whether the window that is read begins at these examples and contains them."""
        its_epoch, its_begin, its_end = self._asked
        return (epoch, begin) == (its_epoch, its_begin) and end <= its_end

    def result(self):
        """The window; waits until it is read."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._window
