"""Labelled examples and the model's predictions, computed once for all callbacks that show them."""

import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mnist_keras.callbacks.inference import call, last_activation, validated_weights
from mnist_keras.checkpoint import backends
from mnist_keras.data.description import DEFAULT_DESCRIPTION, DatasetDescription
from mnist_keras.errors import UsageError
from mnist_keras.probabilities import probabilities

_BATCH_SIZE = 1000


class Exam:
    """Examples, their classes, and a model's predictions for them.

    Args:
        x: the model's inputs, (n, ...); uint8 is scaled to [0, 1], as `batches` does.
        y: the classes: integers (n,) or (n, 1), or one-hot (n, classes).
        name: a name for the examples, used in titles.
        class_names: a text for each class; None: the description's, or else its number.
        most: the maximum number of examples; the first ones are used.
        description: the data set's `mnist_keras.data.DatasetDescription`: how uint8 is scaled, and
            the names of the classes; None: no names, and uint8 is divided by 255.

    Attributes:
        images: x as given; callbacks draw these.
        labels: int64 (n,).
        name: as given.

    Raises:
        UsageError: there are no examples, or the numbers of examples and labels differ.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    >>> exam = Exam(np.array([[0.0, 0.0], [0.0, 9.0]]), np.array([1, 1]))
    >>> exam.probabilities(model, step=0).round(2).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """

    def __init__(
        self,
        x: npt.NDArray[Any],
        y: npt.NDArray[Any],
        *,
        name: str = "examples",
        class_names: Sequence[str] | None = None,
        most: int = 2000,
        description: DatasetDescription | None = None,
    ) -> None:
        if len(x) != len(y) or len(x) == 0:
            raise UsageError(
                f"the examples do not match their classes. Received: {len(x)} examples, "
                f"{len(y)} classes. Expected: one class for each example, at least one example."
            )
        y = np.asarray(y[:most])
        # A part is copied: a view would keep the full array in memory.
        self.images = np.asarray(x) if len(x) <= most else np.array(x[:most])
        self.labels = (y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()).astype(int)
        self.name = name
        self._description = description or DEFAULT_DESCRIPTION
        self._class_names = class_names or self._description.class_names
        self._asked: tuple[int, int | None] | None = None
        self._probabilities = np.zeros((0, 0), np.float32)
        self._model: weakref.ref[keras.Model] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle, without the model; the cache is marked invalid."""
        return {**vars(self), "_model": None, "_asked": None}

    def __len__(self) -> int:
        return len(self.labels)

    def class_names(self, count: int) -> Sequence[str]:
        """A text for each of ``count`` classes."""
        return self._class_names or [str(number) for number in range(count)]

    def probabilities(self, model: keras.Model, step: int) -> npt.NDArray[np.float32]:
        """The class probabilities of each example, without dropout; the model does not change.

        `mnist_keras.probabilities.probabilities` computes them from the scores, the model's loss
        and the activation of its last layer.

        Args:
            model: a built classifier with one output (n, classes), at least 2 classes.
            step: the number of updates done; a second call at the same step returns the cache.

        Returns:
            float32 (n, classes).

        Raises:
            UsageError: the model's output has another shape.
        """
        backends.synchronize(model)
        optimizer = getattr(model, "optimizer", None)
        iterations = None if optimizer is None else int(_numpy(optimizer.iterations))
        if self._model is None or model is not self._model():
            self._model, self._asked = weakref.ref(model), None
        if self._asked != (step, iterations):
            with validated_weights(model):
                scores = np.concatenate([_numpy(call(model, x)) for x in self._batches()])
            self._probabilities = _to_probabilities(scores, model, len(self))
            self._asked = step, iterations
        return self._probabilities

    def inputs(self, begin: int, end: int) -> npt.NDArray[Any]:
        """The examples ``begin`` to ``end - 1``, preprocessed for the model."""
        x = self.images[begin:end]
        return self._description.preprocess(x) if x.dtype == np.uint8 else x

    def _batches(self):
        for begin in range(0, len(self), _BATCH_SIZE):
            yield keras.ops.convert_to_tensor(self.inputs(begin, begin + _BATCH_SIZE))


def _to_probabilities(scores, model, count):
    scores = np.asarray(scores, np.float32)
    if scores.ndim != 2 or len(scores) != count or scores.shape[1] < 2:
        raise UsageError(
            f"the model is not a classifier. Received: outputs of the shape {scores.shape}. "
            f"Expected: ({count}, classes), with at least 2 classes."
        )
    found = probabilities(scores, loss=_loss(model), activation=last_activation(model))
    return found.astype(np.float32)


def _loss(model):
    """The loss of a model; None if it has no loss, several losses, or a loss given by name.

    Keras's loss names mean losses of probabilities. One of these names means a loss of logits in
    ``--loss``, so names are not passed on.
    """
    losses = keras.tree.flatten(getattr(model, "loss", None))
    return None if len(losses) != 1 or isinstance(losses[0], str) else losses[0]


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)
