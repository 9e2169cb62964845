"""Labelled examples and the model's predictions, computed once for all callbacks that show them."""

import math
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mnist_keras.callbacks.inference import call, last_activation, validated_weights
from mnist_keras.callbacks.tensorboard import class_labels
from mnist_keras.callbacks.tensorboard.first_examples import first_examples
from mnist_keras.callbacks.tensorboard.input_images import forms, index_of_images, require_images
from mnist_keras.checkpoint import backends
from mnist_keras.console.terminal import notice
from mnist_keras.data.description import DatasetDescription
from mnist_keras.data.stream import BatchStream
from mnist_keras.errors import UsageError
from mnist_keras.probabilities import not_a_classifier, probabilities


class Exam:
    """Examples, their classes, and a model's predictions for them.

    The model gets the examples as ``model.evaluate`` would give them to it. There are two
    exceptions, both for uint8: with a ``description`` its preprocessing is applied. Without one,
    the callbacks apply that of the `mnist_keras.data.stream.BatchStream` that the model trains on.

    Args:
        x: the model's inputs: an array, a tensor, or several of them in a tuple, list or dict, each
            (n, ...). Or a data set of batches (x, y) or (x, y, sample_weight), as a
            ``tf.data.Dataset``, a ``keras.utils.PyDataset`` or the result of `batches`. It is read
            once, here, up to the batch with the last example that is needed.
        y: the classes: integers (n,) or (n, 1), or one-hot (n, classes); None for a data set.
        name: a name for the examples, used in titles.
        class_names: a text for each class; None: the names in ``description``, or in the stream's
            own description if x is the result of `batches`. A class without a name is shown by its
            number.
        most: the maximum number of examples; the first ones are used.
        description: the data set's `mnist_keras.data.DatasetDescription`, with the preprocessing of
            uint8 and the names of the classes; None: no names, and uint8 as said above.

    Attributes:
        images: x as an array; of several inputs the one that looks like images. None if the batches
            of a data set cannot be joined.
        name: as given.

    Raises:
        UsageError: there are no examples, or the numbers of examples and labels differ.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    >>> exam = Exam(np.array([[0.0, 0.0], [0.0, 9.0]]), np.array([1, 1]))
    >>> exam.probabilities(model, step=0).round(2).tolist()
    [[0.5, 0.5], [0.0, 1.0]]

    The same from a data set:

    >>> import tensorflow as tf
    >>> data = tf.data.Dataset.from_tensor_slices(([[0.0, 0.0], [0.0, 9.0]], [1, 1])).batch(2)
    >>> Exam(data).probabilities(model, step=0).round(2).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """

    images: Any

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        name: str = "examples",
        class_names: Sequence[str] | None = None,
        most: int = 2000,
        description: DatasetDescription | None = None,
    ) -> None:
        self._examples = first_examples(x, y, most=most)
        inputs, targets = self._examples.inputs, self._examples.targets
        shown = inputs[index_of_images(inputs) or 0]
        self.images = shown if isinstance(shown, np.ndarray) else None
        self.name = name
        self._labels = class_labels.class_numbers(targets[0]) if len(targets) == 1 else None
        self._description = description
        described = x.description if isinstance(x, BatchStream) else description
        self._class_names = class_names or getattr(described, "class_names", None)
        self._descriptions: weakref.WeakKeyDictionary[keras.Model, DatasetDescription | None] = (
            weakref.WeakKeyDictionary()
        )
        self._has_other_type = False
        self._asked: Any = None
        self._probabilities = np.zeros((0, 0), np.float32)
        self._model: weakref.ref[keras.Model] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle, without the models; the cache is marked invalid."""
        return {**vars(self), "_model": None, "_asked": None, "_descriptions": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._descriptions = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        return self._examples.size

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each example, int64 (n,).

        Raises:
            UsageError: the targets are not classes.
        """
        if self._labels is None:
            raise UsageError(
                f"the targets are not classes. Received: {forms(self._examples.targets)}. "
                "Expected: integers (n,) or (n, 1), or one-hot (n, classes)."
            )
        return self._labels

    @property
    def pictures(self) -> npt.NDArray[Any]:
        """The images to draw, (n, height, width) or with a last axis of 1 or 3 channels.

        Raises:
            UsageError: no input looks like images.
        """
        return require_images(self._examples.inputs)

    def class_names(self, count: int) -> Sequence[str]:
        """The texts for ``count`` classes."""
        return class_labels.class_names(self._class_names, count)

    def class_name(self, number: int) -> str:
        """The text for a class."""
        return class_labels.class_name(self._class_names, number)

    def trained_on(
        self,
        model: keras.Model,
        *,
        description: DatasetDescription | None,
        specs: Iterable[Any] = (),
    ) -> None:
        """Note what a model trains on; the callbacks call it before they ask for predictions.

        If the examples have another type than the training data, a line on stderr says so once.

        Args:
            model: the model.
            description: the preprocessing of the stream that it trains on; None for other data.
            specs: the ``tf.TensorSpec`` of the training batches, (x, y) each, where known.
        """
        self._descriptions[model] = description
        if self._has_other_type:
            return
        trained = [_types(spec[0]) for spec in specs if isinstance(spec, tuple)]
        if not trained or None in trained:
            return
        own = _types(next(self.batches(model)))
        if _kinds(own) not in map(_kinds, trained):
            self._has_other_type = True
            notice(
                f"Exam: the {self.name} are not of the type of the training data; the model gets "
                f"them unchanged, as from evaluate. Received: {', '.join(own)}. "
                f"Expected: {', '.join(trained[-1])}, scaled as the training data are."
            )

    def batches(self, model: keras.Model) -> Iterator[Any]:
        """The inputs in batches, preprocessed for a model: tensors in the structure of x."""
        description = self._description or self._descriptions.get(model)

        def prepared(part):
            if not isinstance(part, np.ndarray):  # Ragged or sparse.
                return part
            if description is not None and part.dtype == np.uint8:
                part = description.preprocess(part)
            return keras.ops.convert_to_tensor(part)

        for parts in self._examples.batches:
            tensors = [prepared(part) for part in parts]
            yield keras.tree.pack_sequence_as(self._examples.structure, tensors)

    def probabilities(self, model: keras.Model, step: int) -> npt.NDArray[np.float32]:
        """The class probabilities of each example, without dropout; the model does not change.

        `mnist_keras.probabilities.probabilities` computes them from the scores, the model's loss
        and the activation of its last layer.

        Args:
            model: a built classifier with one output: (n, classes), at least 2 classes; or (n, 1)
                or (n,), if it comes from a sigmoid or the loss is a binary crossentropy.
            step: the number of updates done; a second call at the same step returns the cache.

        Returns:
            float32 (n, classes).

        Raises:
            UsageError: the model is not a classifier of these examples.
        """
        backends.synchronize(model)
        optimizer = getattr(model, "optimizer", None)
        iterations = None if optimizer is None else int(_numpy(optimizer.iterations))
        if self._model is None or model is not self._model():
            self._model, self._asked = weakref.ref(model), None
        asked = step, iterations, self._descriptions.get(model)
        if self._asked != asked:
            with validated_weights(model):
                scores = self._scores(model)
            self._probabilities = self._to_probabilities(scores, model)
            self._asked = asked
        return self._probabilities

    def _scores(self, model):
        scores = []
        for x in self.batches(model):
            outputs = keras.tree.flatten(call(model, x))
            if len(outputs) != 1 or len(outputs[0].shape) > 2:
                shapes = (tuple(output.shape)[1:] for output in outputs)
                raise not_a_classifier(*((len(self), *shape) for shape in shapes))
            scores.append(_numpy(outputs[0]))
        return np.concatenate(scores)

    def _to_probabilities(self, scores, model):
        loss, activation = _loss(model), last_activation(model)
        found = probabilities(scores, loss=loss, activation=activation)
        if self._labels is None:
            return found.astype(np.float32)
        highest, classes = int(self._labels.max()), found.shape[1]
        if highest >= classes:
            raise UsageError(
                f"a class has no output of the model. Received: class {highest}, {classes} "
                f"classes of the model. Expected: classes from 0 to {classes - 1}."
            )
        # An autoencoder of tables or flat images has as many outputs as inputs, and far more than
        # there are classes.
        is_for_classes = activation == "softmax" or getattr(loss, "from_logits", False)
        sizes = [
            math.prod(part.shape[1:]) for part in self._examples.inputs if None not in part.shape
        ]
        if not is_for_classes and classes in sizes and classes >= 2 * (highest + 1):
            raise not_a_classifier(scores.shape)
        return found.astype(np.float32)


def _loss(model):
    """The loss of a model; None if it has no loss or several.

    Keras's loss names mean losses of probabilities. One of these names means a loss of logits in
    ``--loss``, so names are not passed on.
    """
    losses = keras.tree.flatten(getattr(model, "loss", None))
    if len(losses) != 1:
        return None
    return keras.losses.get(losses[0]) if isinstance(losses[0], str) else losses[0]


def _types(x):
    """The name of each input's type; None if it is unknown, as of batches that replicas share."""
    parts = keras.tree.flatten(x)
    is_known = all(hasattr(part, "dtype") for part in parts)
    return [keras.backend.standardize_dtype(part.dtype) for part in parts] if is_known else None


def _kinds(types):
    """Keras converts types of the same kind to each other without a change of scale."""
    return ["float" if "float" in t else "text" if t == "string" else "integer" for t in types]


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)
