"""The network's input, as a picture in TensorBoard."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.event_callback import EveryEpochsCallback

TAG = "input_sample"


class InputSample(EveryEpochsCallback):
    """Shows images of an epoch's first batch as the network receives them, with their classes.

    The first epoch is always shown, so that errors in the input are seen early.

    Args:
        logdir: the run's directory.
        first_batch: a function without arguments that returns (images, labels) of the current
            epoch. Images: (n, height, width), or with an axis of one or three channels, at the end
            or before the height. Labels: integers (n,) or one-hot (n, classes).
        every_epochs: interval in epochs; the first and last epoch are always written too.
        most: the maximum number of images.
        class_names: a text for each class; None: its number.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example, with the batches of `mnist_keras.data.batches`:

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
        yield drawing.image_summary(TAG, picture, description="Images of the epoch's first batch.")
