"""The training stream: the order of the examples, and the batches that a step receives.

The order is a pure function of (seed, epoch), so the stream can start at any epoch and step. Images
stay uint8, as in the file; each step casts and scales its own batch.
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mnist_keras._keras import DataAdapter
from mnist_keras.data import begun_stream
from mnist_keras.data.augmentation import BatchAugmentation
from mnist_keras.data.description import DatasetDescription
from mnist_keras.data.order import order_of_epoch
from mnist_keras.data.partitions import require_even
from mnist_keras.data.sharded import Sharded
from mnist_keras.data.windows import Held, Mapped, Window
from mnist_keras.distributed.batch_shards import UNSHARDED
from mnist_keras.distributed.replicas import shard_of_worker
from mnist_keras.distributed.workers import Workers
from mnist_keras.errors import UsageError

# As integers these are below every digest: the element-wise maximum over workers ignores them.
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
    description: DatasetDescription | None = None,
    scored_on: Mapping[str, str] | None = None,
) -> "BatchStream":
    """The training stream over some examples: what `TapeModel.fit` takes as its ``x``.

    Args:
        images: uint8 (n, height, width) or (n, height, width, channels). A ``np.memmap``, as
            `mnist_keras.data.map_idx` returns, or a `mnist_keras.data.sharded.Sharded` is read
            during training and may be larger than memory.
        labels: integers (n,), each 0 to below the number of classes.
        batch_size: examples in a batch; the last batch of an epoch holds the remaining ones.
        shuffle: each epoch has its own order, a pure function of (seed, epoch); else all epochs
            have the order of the arrays.
        seed: integer from 0 to below 2**32.
        augmentation: a function of the float32 images of a batch and an int32 (2,) seed, as
            `mnist_keras.data.augmentation.Augmentation`. It returns images of the same shape, has
            an ``identity``, and is called inside a graph. Where replicas share a batch, it also
            receives the index of the first image in the batch, ``begin``, and the size of the
            batch, ``of``.
        partitions: the examples are split into this many equal runs, each batch takes the same
            number from each run, and shuffling stays within a run. As many workers, or a divisor
            of it, read only their own runs.
        description: the classes and the preprocessing; None: 10 classes, as MNIST has, and
            pixels divided by 255.
        scored_on: {name: digest} of the data that the model is scored on. They are not read, but
            belong to the ``identity``: a training resumes only with the same ones.

    Returns:
        A `BatchStream`. A step receives float32 images (batch, height, width) or (batch, height,
        width, channels), 0 to 1, and one-hot float32 labels (batch, classes).

    Raises:
        UsageError: the arrays differ in length or do not match the description, or the batch size
            is below 1 or above n.

    Example:

    >>> import numpy as np
    >>> stream = batches(np.zeros((5, 28, 28), "uint8"), np.arange(5), batch_size=2)
    >>> [tuple(x.shape) for x, y in stream]
    [(2, 28, 28), (2, 28, 28), (1, 28, 28)]
    >>> colours = DatasetDescription(image_shape=(32, 32, 3), classes=100)
    >>> images, labels = np.zeros((4, 32, 32, 3), "uint8"), [99, 0, 1, 2]
    >>> [[x.shape, y.shape] for x, y in batches(images, labels, batch_size=4, description=colours)]
    [[TensorShape([4, 32, 32, 3]), TensorShape([4, 100])]]
    """
    return BatchStream(
        images,
        labels,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        augmentation=augmentation,
        partitions=partitions,
        description=description,
        scored_on=scored_on,
    )


@contextlib.contextmanager
def raising_read_errors(*data: Any) -> Iterator[None]:
    """A context that raises why the files of a stream could not be read.

    Inside a graph TensorFlow turns such an exception into an ``UnknownError`` of many lines.

    Args:
        *data: what is read in the context; what is not a `BatchStream` is ignored.
    """
    for stream in data:
        if isinstance(stream, BatchStream):
            stream.take_read_error()  # An earlier reader of the stream may have left one.
    try:
        yield
    except tf.errors.OpError as error:
        for stream in data:
            cause = stream.take_read_error() if isinstance(stream, BatchStream) else None
            if cause is not None:
                raise cause from error
        raise


class _Epoch:
    """The number of an epoch. TensorFlow never frees what holds it, so it holds no images."""

    number = -1


class BatchStream(DataAdapter):
    """Batches cut from uint8 arrays on the device; `batches` makes it and has its arguments.

    `TapeModel` cuts the batches inside its own graph and sets ``epoch`` itself. A plain
    ``keras.Model`` iterates over it as over any data set; each pass is the next epoch.

    Attributes:
        examples: the number of examples, n.
        shuffle: whether each epoch has its own order.
        seed: the seed of that order.
        description: the `mnist_keras.data.description.DatasetDescription` of the examples.

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
        description: DatasetDescription | None = None,
        scored_on: Mapping[str, str] | None = None,
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
        image_shape = tuple(images.shape[1:])
        if description is None:
            description = DatasetDescription(image_shape=image_shape)
        if image_shape != description.image_shape:
            raise UsageError(
                f"the images have the wrong shape. Received: {images.shape}. "
                f"Expected: {description.stored_form}."
            )
        classes = description.classes
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            raise UsageError(
                f"the labels are not classes. Received: {labels.dtype}, {labels.min()} to "
                f"{labels.max()}. Expected: integers, 0 to {classes - 1}."
            )
        require_even(partitions, batch_size=batch_size, examples=len(images))
        self.examples = len(images)
        self.shuffle = shuffle
        self.seed = seed
        self.description = description
        self._epoch = _Epoch()
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._partitions = partitions
        self._scored_on = dict(scored_on or {})
        # 2: the next epoch's order is computed while the present one is in use.
        # Not a method: a reference to the stream would keep it from being freed.
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
        self._source = source(
            images,
            labels.astype(description.label_dtype, copy=False),
            order=None if is_in_order else order,
        )
        self._has_order = not is_in_order

    @property
    def epoch(self) -> int:
        """The present epoch, from 0; -1 before the first."""
        return self._epoch.number

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch.number = number

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """A dict that differs between streams with other examples or in another order.

        A checkpoint holds it: training resumes only with the stream that it was started with.
        """
        identity = {
            "examples": self.examples,
            "batch_size": self._batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "sha256": self._digest(),
            **{f"{name}_sha256": digest for name, digest in self._scored_on.items()},
        }
        # Only what differs from the default: checkpoints of earlier versions stay valid.
        for name in ("classes", "max_pixel"):
            if getattr(self.description, name) != getattr(DatasetDescription, name):
                identity[name] = getattr(self.description, name)
        if self._partitions > 1:
            identity["partitions"] = self._partitions
        if self._augmentation is not None:
            identity["augmentation"] = self._augmentation.identity
        return identity

    def _digest(self):
        """The sha256 of the examples; with partitions, of the partitions' own digests."""
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
        """The batches of the present epoch; before any training, of epoch 0."""
        with raising_read_errors(self):
            yield from self.get_tf_dataset()

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, including a short last one."""
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
        """Examples in a short last batch; None: the last batch is full."""
        return self.examples % self._batch_size or None

    @property
    def element_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """The ``tf.TensorSpec`` of a batch's images and labels."""
        size = None if self.has_partial_batch else self._batch_size
        return (
            tf.TensorSpec((size, *self._source.image_shape), tf.float32),
            tf.TensorSpec((size, self.description.classes), tf.float32),
        )

    def on_epoch_begin(self) -> None:
        """Called by Keras before each pass over the data."""
        self.epoch += 1
        begun_stream.note(self)

    def share_among(self, strategy: tf.distribute.Strategy) -> None:
        """Let the replicas of a ``tf.distribute`` strategy share each batch from now on.

        Where examples are read from files, a worker then reads only the parts of its own replicas.

        Args:
            strategy: a ``tf.distribute.Strategy``; with the default strategy nothing is shared.
        """
        several = strategy.num_replicas_in_sync > 1
        share = shard_of_worker(strategy) if several else UNSHARDED
        if share == self._share:
            return
        self._share, self._strategy = share, strategy if several else None
        self._source.read_share(share, batch_size=self._batch_size)

    @property
    def window_spec(self) -> Any:
        """The ``tf.TensorSpec`` of a window."""
        return self._source.window_spec

    def window(self, begin: int, end: int) -> tuple[Window, int]:
        """The examples of the steps from ``begin`` to before ``end`` of the present epoch.

        Returns:
            (a ``mnist_keras.data.windows.Window``, the step before which it ends). It ends earlier
            than asked where the examples of all these steps would take too much memory.
        """
        size = self._batch_size
        last = min(end * size, self.examples)
        window, last = self._source.window(max(self.epoch, 0), begin * size, last, size=size)
        return window, -(-last // size)

    def size(self, step: Any) -> Any:
        """The number of examples in batch ``step``, over all replicas."""
        return tf.minimum(self._batch_size, self.examples - step * self._batch_size)

    def begin(self, step: Any, *, replica: Any) -> Any:
        """The index in batch ``step`` at which a replica's part begins."""
        return self._share.bounds(self.size(step), replica)[0]

    @property
    def cuts_evenly(self) -> bool:
        """Whether all replicas' parts of a batch have the same size, in every batch."""
        return self._share.is_even(self._batch_size, self.examples % self._batch_size)

    def batch(
        self, window: Window, step: tf.Tensor, *, replica: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The images and labels of batch ``step`` of the epoch; runs inside a graph.

        Args:
            window: a result of `window`.
            step: int32 scalar, from 0.
            replica: the replica whose part is returned; None: the entire batch.
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
        images = self.description.preprocess(images)
        if self._augmentation is not None:
            seed = int(np.uint32(self.seed).view(np.int32))
            images = self._augmentation(images, tf.stack([seed, epoch * len(self) + step]), **part)
        return images, tf.one_hot(labels, self.description.classes)

    def take_read_error(self) -> BaseException | None:
        """The exception of the last read inside a graph that failed, once; None: none did."""
        error, self._source.error = self._source.error, None
        return error

    def close(self) -> None:
        """Stop reading ahead; the next `window` starts it again."""
        self._source.close()

    def get_tf_dataset(self) -> tf.data.Dataset:
        """The present epoch as a ``tf.data.Dataset``; iterated again later, the epoch of that time.

        Where replicas share the batches, it is a ``tf.distribute.DistributedDataset``.
        """
        if self._strategy is None:
            return self._dataset([None])
        # distribute_dataset would make each worker read all examples of a batch.
        return self._strategy.distribute_datasets_from_function(
            lambda context: self._dataset(range(self._share.first_replica, self._share.end_replica))
        )

    def _dataset(self, parts):
        """The parts of these replicas of each batch, in turn; [None]: entire batches."""
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
        with raising_read_errors(self):
            yield from self.get_tf_dataset().as_numpy_iterator()

    def get_jax_iterator(self) -> Iterator[Any]:
        """As `get_numpy_iterator`."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self) -> NoReturn:
        """Not offered: the stream's batches are TensorFlow's.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "a stream needs the TensorFlow backend. Received: Keras's torch backend. "
            "Expected: KERAS_BACKEND=tensorflow."
        )
