"""The order in which examples are trained on, and the form in which a step sees them.

The order is a pure function of (seed, epoch), so any epoch and step is reached at once. Images stay
uint8, as in the file, until the step that uses them casts and scales its own batch.
"""

import functools
import hashlib

import numpy as np
import tensorflow as tf

from mnist_keras.errors import UsageError
from mnist_keras.keras_internals import DataAdapter

CLASSES = 10


def batches(images, labels, *, batch_size, shuffle=False, seed=0):
    """The training stream over some examples: what `TapeModel.fit` takes as its ``x``.

    Args:
        images: uint8 (n, 28, 28).
        labels: whole numbers (n,), each 0 to 9.
        batch_size: examples in a batch; the last batch of an epoch holds what is left over.
        shuffle: another order each epoch, a pure function of (seed, epoch); else the order given.
        seed: whole number >= 0.

    Returns:
        A `BatchStream`. A step sees float32 images (batch, 28, 28) in [0, 1] and one-hot float32
        labels (batch, 10).

    Raises:
        UsageError: counts that differ, images that are not uint8, labels that are no classes, or
            a batch size below 1 or above n.

    Example:

    >>> import numpy as np
    >>> stream = batches(np.zeros((5, 28, 28), "uint8"), np.arange(5), batch_size=2)
    >>> [tuple(x.shape) for x, y in stream]
    [(2, 28, 28), (2, 28, 28), (1, 28, 28)]
    """
    return BatchStream(images, labels, batch_size=batch_size, shuffle=shuffle, seed=seed)


def epoch_order(count, *, seed, epoch):
    """The order of ``count`` examples in a shuffled epoch: a permutation, int32 (count,).

    It sorts raw 64-bit draws of Philox, whose stream NumPy guarantees across versions, which it
    does not for ``Generator.permutation``.
    """
    draws = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(draws, kind="stable").astype(np.int32)


class BatchStream(DataAdapter):
    """Batches cut out of arrays held once, on the device, as uint8. Made by `batches`.

    `TapeModel` cuts the batches inside its own graph and sets ``epoch`` itself. A plain
    ``keras.Model`` iterates over it as over any data set; each pass is the next epoch.

    Attributes:
        examples: their number, n.
        epoch: the present one, from 0; -1 before the first.
    """

    def __init__(self, images, labels, *, batch_size, shuffle=False, seed=0):
        images, labels = np.asarray(images), np.asarray(labels)
        if len(images) != len(labels):
            raise UsageError(
                f"images and labels differ in number. Received: {len(images)} and {len(labels)}. "
                "Expected: as many labels as images."
            )
        if not 1 <= batch_size <= len(images):
            raise UsageError(
                f"the batch size does not fit the data. Received: {batch_size}. "
                f"Expected: 1 to {len(images)}, the number of examples."
            )
        if images.dtype != np.uint8:
            raise UsageError(
                f"the images have the wrong type. Received: {images.dtype}. "
                "Expected: uint8, 0 to 255, as in the file; each step scales its own batch."
            )
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= CLASSES:
            raise UsageError(
                f"the labels are no classes. Received: {labels.dtype}, {labels.min()} to "
                f"{labels.max()}. Expected: whole numbers, 0 to {CLASSES - 1}."
            )
        self.examples = len(images)
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = -1
        self._batch_size = batch_size
        self._images = tf.constant(images, tf.uint8)
        self._labels = tf.constant(labels, tf.uint8)
        self._in_order = tf.zeros([0], tf.int32)

    @functools.cached_property
    def identity(self):
        """What tells this stream from every other one, {name: value}: its examples and its order.

        A training that goes on with another stream would not be the same training.
        """
        digest = hashlib.sha256(self._images.numpy())
        digest.update(self._labels.numpy())
        return {
            "examples": self.examples,
            "batch_size": self._batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "sha256": digest.hexdigest(),
        }

    def __len__(self):
        """Batches in an epoch."""
        return -(-self.examples // self._batch_size)

    def __iter__(self):
        """The batches of the present epoch, of epoch 0 before any training."""
        return iter(self.get_tf_dataset())

    @property
    def num_batches(self):
        """Batches in an epoch, the last short one counted."""
        return len(self)

    @property
    def batch_size(self):
        """Examples in a full batch."""
        return self._batch_size

    @property
    def has_partial_batch(self):
        """Whether the last batch is short."""
        return self.partial_batch_size is not None

    @property
    def partial_batch_size(self):
        """Examples in the last batch where it is short, else None."""
        return self.examples % self._batch_size or None

    @property
    def element_spec(self):
        """What a step sees, as ``tf.TensorSpec``."""
        size = None if self.has_partial_batch else self._batch_size
        return (
            tf.TensorSpec((size, *self._images.shape[1:]), tf.float32),
            tf.TensorSpec((size, CLASSES), tf.float32),
        )

    def on_epoch_begin(self):
        """Called by Keras before each pass over the data."""
        self.epoch += 1

    def tensors(self):
        """What `batch` cuts from: uint8 images, uint8 labels, and the present epoch's order."""
        order = self._in_order
        if self.shuffle:
            order = tf.constant(
                epoch_order(self.examples, seed=self.seed, epoch=max(self.epoch, 0))
            )
        return self._images, self._labels, order

    def batch(self, tensors, step):
        """Batch ``step`` of the epoch as a step sees it; runs inside a graph.

        Args:
            tensors: what `tensors` gave.
            step: int32 scalar, from 0.
        """
        images, labels, order = tensors
        begin = step * self._batch_size
        end = tf.minimum(begin + self._batch_size, self.examples)
        if self.shuffle:
            chosen = order[begin:end]
            images, labels = tf.gather(images, chosen), tf.gather(labels, chosen)
        else:
            images, labels = images[begin:end], labels[begin:end]
        return tf.cast(images, tf.float32) / 255.0, tf.one_hot(labels, CLASSES)

    def get_tf_dataset(self):
        """The present epoch as a ``tf.data.Dataset``, and the later ones as Keras comes to them."""
        epoch = tf.data.Dataset.range(1).map(lambda _: self._order_now())
        return epoch.flat_map(
            lambda order: tf.data.Dataset.range(len(self), output_type=tf.int32).map(
                lambda step: self.batch((self._images, self._labels, order), step)
            )
        ).apply(tf.data.experimental.assert_cardinality(len(self)))

    def _order_now(self):
        order = tf.py_function(lambda: self.tensors()[2], [], tf.int32)
        return tf.ensure_shape(order, [None])

    def get_numpy_iterator(self):
        """The present epoch as NumPy arrays."""
        return self.get_tf_dataset().as_numpy_iterator()

    def get_jax_iterator(self):
        """As `get_numpy_iterator`."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self):
        """Not offered: the stream's batches are TensorFlow's.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "a stream runs on TensorFlow alone. Received: Keras's torch backend. "
            "Expected: KERAS_BACKEND=tensorflow."
        )
