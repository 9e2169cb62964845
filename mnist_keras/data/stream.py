"""The order in which examples are trained on, and the form in which a step sees them.

The order is a pure function of (seed, epoch), so any epoch and step is reached at once. Images stay
uint8, as in the file, until the step that uses them casts and scales its own batch.
"""

import functools
import hashlib
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mnist_keras._keras import DataAdapter
from mnist_keras.data.augmentation import BatchAugmentation
from mnist_keras.data.order import order_of_epoch
from mnist_keras.data.partitions import require_even
from mnist_keras.data.sharded import Sharded
from mnist_keras.data.windows import Held, Mapped, Window
from mnist_keras.distributed.batch_shards import UNSHARDED
from mnist_keras.distributed.replicas import shard_of_worker
from mnist_keras.distributed.workers import Workers
from mnist_keras.errors import UsageError

CLASSES = 10
# Less than any other one as whole numbers: of several workers' the largest is taken.
_NO_DIGEST = bytes.fromhex("80000000" * 8)


def batches(
    images: npt.NDArray[np.uint8] | Sharded,
    labels: npt.ArrayLike,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    augmentation: BatchAugmentation | None = None,
    partitions: int = 1,
) -> "BatchStream":
    """The training stream over some examples: what `TapeModel.fit` takes as its ``x``.

    Args:
        images: uint8 (n, 28, 28). A ``np.memmap``, as `mnist_keras.data.map_idx` gives, or a
            `mnist_keras.data.sharded.Sharded` is read as the training comes to it, and may be
            larger than memory.
        labels: whole numbers (n,), each 0 to 9.
        batch_size: examples in a batch; the last batch of an epoch holds what is left over.
        shuffle: another order each epoch, a pure function of (seed, epoch); else the order given.
        seed: whole number from 0 to below 2**32.
        augmentation: a function of the float32 images of a batch and an int32 (2,) seed, as
            `mnist_keras.data.augmentation.Augmentation`, that gives other images of that shape,
            with an ``identity`` as it has; it is called inside a graph. Where replicas share a
            batch it is told too, ``begin`` and ``of``, where these images begin in it and how many
            it has.
        partitions: how many equal runs of the examples each batch takes an equal part of; shuffling
            stays within them. As many workers, or a divisor of it, read their own runs alone.

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
    return BatchStream(
        images,
        labels,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        augmentation=augmentation,
        partitions=partitions,
    )


class _Epoch:
    """The number of an epoch, for functions that TensorFlow keeps for good: not the images too."""

    number = -1


class BatchStream(DataAdapter):
    """Batches cut out of uint8 arrays on the device, made by `batches`.

    Its arguments are those of `batches`.

    `TapeModel` cuts the batches inside its own graph and sets ``epoch`` itself. A plain
    ``keras.Model`` iterates over it as over any data set; each pass is the next epoch.

    Attributes:
        examples: their number, n.
        shuffle: whether each epoch has an order of its own.
        seed: what that order is a function of, besides the epoch.

    Example:

    >>> import numpy as np
    >>> stream = BatchStream(np.zeros((5, 28, 28), "uint8"), np.arange(5), batch_size=2)
    >>> len(stream), stream.partial_batch_size
    (3, 1)
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8] | Sharded,
        labels: npt.ArrayLike,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        augmentation: BatchAugmentation | None = None,
        partitions: int = 1,
    ) -> None:
        labels = np.asarray(labels)
        if not isinstance(images, Sharded):
            images = np.asanyarray(images)
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
        require_even(partitions, batch_size=batch_size, examples=len(images))
        self.examples = len(images)
        self.shuffle = shuffle
        self.seed = seed
        self._epoch = _Epoch()
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._partitions = partitions
        # The next epoch's order is asked for while the present one's is in use.
        # It knows nothing of the stream, which is freed when nobody needs it any more.
        order = functools.lru_cache(2)(
            functools.partial(
                order_of_epoch,
                len(images),
                partitions=partitions,
                batch_size=batch_size,
                shuffle=shuffle,
                seed=seed,
            )
        )
        is_in_order = not shuffle and partitions == 1
        self._share = UNSHARDED
        self._strategy: tf.distribute.Strategy | None = None
        source = Mapped if isinstance(images, (np.memmap, Sharded)) else Held
        self._source = source(images, labels, order=None if is_in_order else order)
        self._has_order = not is_in_order

    @property
    def epoch(self) -> int:
        """The present one, from 0; -1 before the first."""
        return self._epoch.number

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch.number = number

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What tells this stream from every other one, as a dict of its examples and its order.

        A training that goes on with another stream would not be the same training.
        """
        identity = {
            "examples": self.examples,
            "batch_size": self._batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "sha256": self._digest(),
        }
        if self._partitions > 1:
            identity["partitions"] = self._partitions
        if self._augmentation is not None:
            identity["augmentation"] = self._augmentation.identity
        return identity

    def _digest(self):
        """That of the examples; with partitions, that of theirs, each from a worker that has it."""
        if self._partitions == 1:
            return self._source.digest()
        size, words = self.examples // self._partitions, []
        for begin in range(0, self.examples, size):
            part = self._source.part(begin, begin + size)
            digest = bytes.fromhex(part.digest()) if part.is_here else _NO_DIGEST
            words.append(np.frombuffer(digest, ">i4").astype(int))
        words = np.concatenate(words).tolist()
        if self._strategy is not None:
            words = Workers(self._strategy).all_reduce_max(words)
        return hashlib.sha256(np.array(words, ">i4").tobytes()).hexdigest()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.examples // self._batch_size)

    def __iter__(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """The batches of the present epoch, of epoch 0 before any training."""
        return iter(self.get_tf_dataset())

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, the last short one counted."""
        return len(self)

    @property
    def batch_size(self) -> int:
        """Examples in a full batch."""
        return self._batch_size

    @property
    def has_partial_batch(self) -> bool:
        """Whether the last batch is short."""
        return self.partial_batch_size is not None

    @property
    def partial_batch_size(self) -> int | None:
        """Examples in the last batch where it is short, else None."""
        return self.examples % self._batch_size or None

    @property
    def element_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """What a step sees, as ``tf.TensorSpec``."""
        size = None if self.has_partial_batch else self._batch_size
        return (
            tf.TensorSpec((size, *self._source.image_shape), tf.float32),
            tf.TensorSpec((size, CLASSES), tf.float32),
        )

    def on_epoch_begin(self) -> None:
        """Called by Keras before each pass over the data."""
        self.epoch += 1

    def share_among(self, strategy: tf.distribute.Strategy) -> None:
        """Let the replicas of a ``tf.distribute`` strategy share each batch from now on.

        A worker then reads its replicas' parts alone, where the examples are read from files.

        Args:
            strategy: a ``tf.distribute.Strategy``; the default one: the batches are whole.
        """
        several = strategy.num_replicas_in_sync > 1
        share = shard_of_worker(strategy) if several else UNSHARDED
        if share == self._share:
            return
        self._share, self._strategy = share, strategy if several else None
        self._source.read_share(share, batch_size=self._batch_size)

    @property
    def window_spec(self) -> Any:
        """What `window` gives, as ``tf.TensorSpec``."""
        return Window.spec(self._source.image_shape)

    def window(self, begin: int, end: int) -> tuple[Window, int]:
        """What `batch` cuts the steps from ``begin`` to before ``end`` of the present epoch from.

        Returns:
            (a ``mnist_keras.data.windows.Window``, the step before which it ends); where all these
            steps would take too much memory, it ends earlier.
        """
        size = self._batch_size
        last = min(end * size, self.examples)
        window, last = self._source.window(max(self.epoch, 0), begin * size, last, size=size)
        return window, -(-last // size)

    def size(self, step: Any) -> Any:
        """How many examples batch ``step`` has, over all replicas."""
        return tf.minimum(self._batch_size, self.examples - step * self._batch_size)

    def begin(self, step: Any, *, replica: Any) -> Any:
        """Where in batch ``step`` a replica's part begins."""
        return self._share.bounds(self.size(step), replica)[0]

    @property
    def cuts_evenly(self) -> bool:
        """Whether the replicas' parts of each batch are of one size."""
        return self._share.is_even(self._batch_size, self.examples % self._batch_size)

    def batch(
        self, window: Window, step: tf.Tensor, *, replica: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Batch ``step`` of the epoch as a step sees it; runs inside a graph.

        Args:
            window: what `window` gave.
            step: int32 scalar, from 0.
            replica: whose part of it; None: all of it.
        """
        images, labels, order, first, epoch = window
        if replica is None:
            part = {}
            begin = step * self._batch_size - first
            end = tf.minimum(begin + self._batch_size, self.examples - first)
        else:
            size, read = self.size(step), self._source.share
            part_begin, part_end = self._share.bounds(size, replica)
            part = {"begin": part_begin, "of": size}
            batch_begin = step * read.size(self._batch_size) - first - read.begin(size)
            begin, end = batch_begin + part_begin, batch_begin + part_end
        if self._has_order:
            chosen = order[begin:end]
            images, labels = tf.gather(images, chosen), tf.gather(labels, chosen)
        else:
            images, labels = images[begin:end], labels[begin:end]
        images = tf.cast(images, tf.float32) / 255.0
        if self._augmentation is not None:
            seed = int(np.uint32(self.seed).view(np.int32))
            images = self._augmentation(images, tf.stack([seed, epoch * len(self) + step]), **part)
        return images, tf.one_hot(labels, CLASSES)

    def close(self) -> None:
        """Stop reading ahead; it begins again where it is needed."""
        self._source.close()

    def get_tf_dataset(self) -> tf.data.Dataset:
        """The present epoch as a ``tf.data.Dataset``, and the later ones as Keras comes to them.

        Where replicas share the batches it is a ``tf.distribute.DistributedDataset``.
        """
        if self._strategy is None:
            return self._dataset([None])
        # Not the whole batches distributed: each worker would read all of them.
        return self._strategy.distribute_datasets_from_function(
            lambda context: self._dataset(range(self._share.first_replica, self._share.end_replica))
        )

    def _dataset(self, parts):
        """These replicas' parts of each batch in turn; None: all of it."""
        count = len(parts)

        def steps(epoch):
            window = self._source.windows_in_graph(epoch, self._batch_size)

            def part(number):
                step, replica = number, None
                if self._strategy is not None:
                    step, replica = number // count, parts[0] + number % count
                return self.batch(window(step), step, replica=replica)

            return tf.data.Dataset.range(len(self) * count, output_type=tf.int32).map(part)

        present = tf.data.Dataset.range(1).map(lambda _: self._epoch_now())
        length = tf.data.experimental.assert_cardinality(len(self) * count)
        return present.flat_map(steps).apply(length)

    def _epoch_now(self):
        present = self._epoch
        epoch = tf.numpy_function(lambda: np.int32(max(present.number, 0)), [], tf.int32)
        return tf.ensure_shape(epoch, [])

    def get_numpy_iterator(self) -> Iterator[Any]:
        """The present epoch as NumPy arrays."""
        return self.get_tf_dataset().as_numpy_iterator()

    def get_jax_iterator(self) -> Iterator[Any]:
        """As `get_numpy_iterator`."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self) -> NoReturn:
        """Not offered: the stream's batches are TensorFlow's.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "a stream runs on TensorFlow alone. Received: Keras's torch backend. "
            "Expected: KERAS_BACKEND=tensorflow."
        )
