"""The network's input, as a picture in TensorBoard."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard import class_labels, drawing
from mnist_keras.callbacks.tensorboard.first_examples import first_rows
from mnist_keras.callbacks.tensorboard.input_images import require_images
from mnist_keras.callbacks.tensorboard.picture_callback import PictureCallback

TAG = "input_sample"


class InputSample(PictureCallback):
    """Shows images of an epoch's first batch as the network receives them, with their targets.

    The first epoch is always shown, so that errors in the input are seen early. If no input looks
    like images, a line on stderr says so.

    Args:
        logdir: the run's directory.
        first_batch: a function without arguments that returns a batch of the current epoch, (x, y)
            or (x, y, sample_weight). Of several inputs in x, the one that looks like images is
            shown: (n, height, width), or with a last axis of 1, 3 or 4 channels, or (n, channels,
            height, width) with 1 or 3 channels. The captions are the classes in y, integers (n,) or
            one-hot (n, classes); or else a number per example.
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
        first_batch: Callable[[], Any],
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

    def drawn(self) -> Iterator[Summary]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(self._first_batch())
        inputs, targets = (
            [first_rows(part, self._most) for part in keras.tree.flatten(data)]
            for data in (x, y if y is not None else [])
        )
        images = drawing.gray(require_images(inputs))
        captions = self._captions(targets[0]) if len(targets) == 1 else None
        picture = drawing.grid(images, captions, columns=5)
        yield drawing.image_summary(TAG, picture, description="Images of the epoch's first batch.")

    def _captions(self, y):
        numbers = class_labels.class_numbers(y)
        if numbers is not None:
            return [class_labels.class_name(self._class_names, number) for number in numbers]
        if isinstance(y, np.ndarray) and y.size == len(y) and class_labels.is_numeric(y):
            return [f"{number:.3g}" for number in y.ravel()]
        return None
