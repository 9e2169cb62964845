"""What the network is fed, as a picture in TensorBoard."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.event_callback import EveryEpochsCallback

TAG = "input_sample"


class InputSample(EveryEpochsCallback):
    """Shows images of an epoch's first batch as the network was fed them, with their classes.

    That of the first epoch comes too: what is wrong with the input should not be seen late.

    Args:
        logdir: the run's directory.
        first_batch: a function without arguments that gives (images, labels) of the present
            epoch: numbers (n, height, width), or with one or three channels behind; whole numbers
            (n,) or one-hot (n, classes).
        every_epochs: how often, in epochs; after the first and the last one too.
        most: how many are shown at most.
        class_names: a text for each class; None: its number.

    Raises:
        UsageError: ``every_epochs`` is no whole number of at least 1.

    Example, for what `mnist_keras.data.batches` gives:

    >>> import numpy as np
    >>> from mnist_keras.data import batches
    >>> stream = batches(np.zeros((5, 28, 28), "uint8"), np.arange(5), batch_size=2)
    >>> sample = InputSample("logs/mine", lambda: next(iter(stream)))
    """

    def __init__(
        self,
        logdir: StrPath,
        first_batch: Callable[[], tuple[Any, Any]],
        *,
        every_epochs: int = 10,
        most: int = 25,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(logdir, every_epochs=every_epochs)
        self._first_batch = first_batch
        self._most = most
        self._class_names = class_names

    def is_due(self, epochs: int) -> bool:
        return epochs == 1 or super().is_due(epochs)

    def summaries(self) -> Iterator[Summary]:
        images, labels = (np.asarray(part[: self._most]) for part in self._first_batch())
        labels = labels.argmax(-1) if labels.ndim == 2 else labels
        names = self._class_names
        captions = [str(label) if names is None else names[int(label)] for label in labels]
        picture = drawing.grid(drawing.gray(images), captions, columns=5)
        yield drawing.image_summary(TAG, picture, description="Of the epoch's first batch.")
