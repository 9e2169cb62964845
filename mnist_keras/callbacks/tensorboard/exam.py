"""Examples that a model is asked about, once for all the callbacks that show its answers."""

import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mnist_keras.callbacks.inference import call, last_activation, validated_weights
from mnist_keras.data.description import DEFAULT_DESCRIPTION, DatasetDescription
from mnist_keras.errors import UsageError
from mnist_keras.probabilities import probabilities

_BATCH_SIZE = 1000


class Exam:
    """Some examples, what they are, and how a model classifies them.

    Args:
        x: (n, ...), what the model takes; uint8 is scaled to [0, 1], as `batches` does.
        y: the classes: whole numbers (n,) or (n, 1), or one-hot (n, classes).
        name: what the examples are, for titles.
        class_names: a text for each class; None: the description's, else its number.
        most: at most so many examples, the first ones.
        description: the data set's `mnist_keras.data.DatasetDescription`: how uint8 is scaled, and
            the names of the classes; None: no names, and uint8 is divided by 255.

    Attributes:
        images: x, as given; what is drawn.
        labels: int64 (n,).
        name: as given.

    Raises:
        UsageError: no examples, or as many labels as examples there are not.

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
                f"these are no examples with their classes. Received: {len(x)} examples and "
                f"{len(y)} classes. Expected: at least one, and as many of both."
            )
        y = np.asarray(y[:most])
        # A part is copied: a view of it would keep all the others.
        self.images = np.asarray(x) if len(x) <= most else np.array(x[:most])
        self.labels = (y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()).astype(int)
        self.name = name
        self._description = description or DEFAULT_DESCRIPTION
        self._class_names = class_names or self._description.class_names
        self._asked: tuple[int, int | None] | None = None
        self._probabilities = np.zeros((0, 0), np.float32)
        self._model: weakref.ref[keras.Model] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: what was answered, and by which model, is left out."""
        return {**vars(self), "_model": None, "_asked": None}

    def __len__(self) -> int:
        return len(self.labels)

    def class_names(self, count: int) -> Sequence[str]:
        """A text for each of so many classes."""
        return self._class_names or [str(number) for number in range(count)]

    def probabilities(self, model: keras.Model, step: int) -> npt.NDArray[np.float32]:
        """What the model thinks of each example, without dropout and without a trace in the model.

        They follow from the scores as `mnist_keras.probabilities.probabilities` says, by the
        model's loss and the activation of its last layer.

        Args:
            model: a built classifier of one output (n, classes), at least 2 of them.
            step: the number of updates done; asked again at the same one, nothing is computed.

        Returns:
            float32 (n, classes).

        Raises:
            UsageError: the model has another output.
        """
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
        """The examples from ``begin`` to before ``end`` as the model takes them."""
        x = self.images[begin:end]
        return self._description.preprocess(x) if x.dtype == np.uint8 else x

    def _batches(self):
        for begin in range(0, len(self), _BATCH_SIZE):
            yield tf.constant(self.inputs(begin, begin + _BATCH_SIZE))


def _to_probabilities(scores, model, count):
    scores = np.asarray(scores, np.float32)
    if scores.ndim != 2 or len(scores) != count or scores.shape[1] < 2:
        raise UsageError(
            f"this is no classifier. Received: outputs of the shape {scores.shape}. "
            f"Expected: ({count}, classes), with at least 2 classes."
        )
    found = probabilities(scores, loss=_loss(model), activation=last_activation(model))
    return found.astype(np.float32)


def _loss(model):
    """The one loss of a model; None: it has none, several, or one by name.

    Keras's names are of losses from probabilities, also the name that ``--loss`` uses otherwise.
    """
    losses = keras.tree.flatten(getattr(model, "loss", None))
    return None if len(losses) != 1 or isinstance(losses[0], str) else losses[0]


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)
