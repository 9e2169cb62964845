"""The last hidden layer's outputs as points, in TensorBoard's projector."""

import contextlib
import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.projector import metadata
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from mnist_keras import _keras
from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.inference import call, network_of, validated_weights
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback
from mnist_keras.checkpoint import storage
from mnist_keras.errors import MnistKerasError, UsageError


class Projector(ExamCallback):
    """Shows examples as points: their features in the last hidden layer.

    The directory ``logdir/plugins/org_tensorflow_tensorboard_projector`` holds the latest points,
    their classes and predictions, the images as one sprite, and the projector's config file. What
    the examples or the model do not have is left out, and a line on stderr says so. A running
    TensorBoard reads new files only after a restart.

    Args:
        logdir: the run's directory.
        exam: a `mnist_keras.callbacks.tensorboard.exam.Exam`; of several inputs, the one that looks
            like images is shown.
        layer: the name of the layer whose input is shown; None: the last layer with weights.
        every_epochs: interval in epochs; the last epoch is always written too.
        most: the maximum number of points; the exam's first examples are used.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.
        MnistKerasError: the files cannot be written to the disk.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras.callbacks.tensorboard.exam import Exam
    >>> model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> images, labels = np.zeros((4, 28, 28), "uint8"), np.arange(4)
    >>> projector = Projector(tempfile.mkdtemp(), Exam(images, labels), every_epochs=1)
    >>> history = model.fit(images, np.eye(10)[labels], verbose=0, callbacks=[projector])
    """

    def __init__(
        self,
        logdir: StrPath,
        exam: Exam,
        *,
        layer: str | None = None,
        every_epochs: int = 10,
        most: int = 1000,
    ) -> None:
        super().__init__(logdir, exam, every_epochs=every_epochs)
        self._layer = layer
        self._directory = pathlib.Path(logdir, metadata.PLUGINS_DIR, metadata.PLUGIN_ASSETS_NAME)
        self._most = most

    def drawn(self) -> Iterable[Summary]:
        """Write the projector's files; there are no summaries."""
        files = self._files()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                storage.write_file(self._directory / name, data)
        except OSError as error:
            raise MnistKerasError(
                f"the projector's files cannot be written: {error.strerror}. "
                f"Received: {self._directory}. Expected: a directory with space left."
            ) from error
        return ()

    def _files(self):
        """{name: bytes}; the config, which names the other files, comes last."""
        points = self._points().tolist()
        files = {"points.tsv": _lines("\t".join(f"{x:.4g}" for x in point) for point in points)}
        config = ProjectorConfig()
        embedding = config.embeddings.add(
            tensor_name=f"last_hidden_layer_{self.step}", tensor_path="points.tsv"
        )
        if (rows := self._rows()) is not None:
            files["labels.tsv"] = _lines(rows)
            embedding.metadata_path = "labels.tsv"
        if (images := self._images()) is not None:
            picture, size = drawing.sprite(drawing.gray(images))
            files["images.png"] = drawing.png(picture)
            embedding.sprite.image_path = "images.png"
            embedding.sprite.single_image_dim.extend(size)
        files[metadata.PROJECTOR_FILENAME] = text_format.MessageToString(config).encode()
        return files

    def _points(self):
        points, count = [], 0
        with validated_weights(self.model):
            for x in self.exam.batches(self.model):
                points.append(input_of_layer(self.model, x, layer=self._layer))
                count += len(points[-1])
                if count >= self._most:
                    break
        return np.concatenate(points)[: self._most]

    def _rows(self):
        """The lines of the labels file; None if the targets are not classes."""
        try:
            labels = self.exam.labels[: self._most]
        except UsageError as reason:
            self._say_missing("no classes", reason)
            return None
        try:
            probabilities = self.exam.probabilities(self.model, self.step)
        except UsageError as reason:
            self._say_missing("no predictions", reason)
            return map(self.exam.class_name, labels)  # A single column has no header.
        names = self.exam.class_names(probabilities.shape[1])
        guesses = probabilities[: self._most].argmax(-1)
        rows = [f"{names[i]}\t{names[j]}" for i, j in zip(labels, guesses, strict=True)]
        return ["class\tprediction", *rows]

    def _images(self):
        """The images of the points, or None."""
        try:
            return self.exam.pictures[: self._most]
        except UsageError as reason:
            self._say_missing("no images", reason)
            return None


def input_of_layer(
    model: keras.Model, x: Any, *, layer: str | None = None
) -> npt.NDArray[np.float32]:
    """The input of a layer, float32 (n, features); works for all kinds of models.

    An input with more axes, such as height and width or time, is averaged over all but the last.

    Args:
        model: a built model.
        x: the model's input, (n, ...), or several in a tuple, list or dict.
        layer: the layer's name; None: the layer with weights that is computed last.

    Raises:
        UsageError: no layer with weights has that name.

    >>> import keras
    >>> model = keras.Sequential([keras.layers.ReLU(), keras.layers.Dense(1)])
    >>> _ = model(np.array([[-1.0, 2.0]]))
    >>> input_of_layer(model, np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """
    leaves = [
        part
        for part in _keras.flatten_layers(model)
        if part.weights and not _keras.has_sublayers(part)
    ]
    candidates = [part for part in leaves if layer in (None, part.name)]
    if not leaves:
        raise UsageError(
            "no layer has weights. Received: a model without weights. Expected: at least one layer "
            "with weights."
        )
    if not candidates:
        raise UsageError(
            f"no layer with weights has that name. Received: {layer}. "
            f"Expected: one of {', '.join(part.name for part in leaves)}."
        )
    seen: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        for part in candidates:
            stack.enter_context(_watched(part, seen))
        call(network_of(model), keras.tree.map_structure(_tensor, x))
    if not seen:
        raise UsageError(
            "the model's output does not depend on a layer with weights. Received: "
            f"{', '.join(part.name for part in candidates)}. Expected: one that the model calls."
        )
    features = keras.ops.convert_to_numpy(keras.tree.flatten([*seen.values()][-1])[0])
    features = np.asarray(features, np.float32)
    return features.mean(tuple(range(1, features.ndim - 1))).reshape(len(features), -1)


@contextlib.contextmanager
def _watched(layer, seen):
    """Within the context, ``seen`` records the layer's last input, in the order of the calls."""

    def watched_call(call, inputs, *args, **kwargs):
        seen.pop(id(layer), None)
        seen[id(layer)] = inputs
        return call(inputs, *args, **kwargs)

    with _keras.replaced_call(layer, watched_call):
        yield


def _tensor(part):
    return keras.ops.convert_to_tensor(part) if isinstance(part, np.ndarray) else part


def _lines(lines):
    return "".join(f"{line}\n" for line in lines).encode()
