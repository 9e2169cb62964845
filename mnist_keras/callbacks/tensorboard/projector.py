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
from mnist_keras.callbacks.tensorboard.event_callback import EveryEpochsCallback
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.checkpoint import storage
from mnist_keras.errors import MnistKerasError, UsageError


class Projector(EveryEpochsCallback):
    """Shows examples as points: their features in the last hidden layer.

    The directory ``logdir/plugins/org_tensorflow_tensorboard_projector`` holds the latest points,
    the labels, the images as one sprite, and the projector's config file. A running TensorBoard
    reads new files only after a restart.

    Args:
        logdir: the run's directory.
        exam: a `mnist_keras.callbacks.tensorboard.exam.Exam` of images.
        layer: the name of the layer whose input is shown; None: the last layer with weights.
        every_epochs: interval in epochs; the last epoch is always written too.
        most: the maximum number of points; the exam's first examples are used.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1; or, during ``fit``, no layer
            has that name.
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
        super().__init__(logdir, every_epochs=every_epochs)
        self._exam = exam
        self._layer = layer
        self._directory = pathlib.Path(logdir, metadata.PLUGINS_DIR, metadata.PLUGIN_ASSETS_NAME)
        self._most = most

    def summaries(self) -> Iterable[Summary]:
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
        images, labels = self._exam.images[: self._most], self._exam.labels[: self._most]
        probabilities = self._exam.probabilities(self.model, self.step)
        guesses = probabilities[: self._most].argmax(-1)
        names = self._exam.class_names(probabilities.shape[1])
        with validated_weights(self.model):
            inputs = self._exam.inputs(0, self._most)
            points = input_of_layer(self.model, inputs, layer=self._layer)
        picture, size = drawing.sprite(drawing.gray(images))
        rows = [f"{names[i]}\t{names[j]}" for i, j in zip(labels, guesses, strict=True)]
        config = ProjectorConfig()
        config.embeddings.add(
            tensor_name=f"last_hidden_layer_{self.step}",
            tensor_path="points.tsv",
            metadata_path="labels.tsv",
        )
        config.embeddings[0].sprite.image_path = "images.png"
        config.embeddings[0].sprite.single_image_dim.extend(size)
        return {
            "points.tsv": _lines("\t".join(f"{x:.4g}" for x in point) for point in points.tolist()),
            "labels.tsv": _lines(["class\tprediction", *rows]),
            "images.png": drawing.png(picture),
            metadata.PROJECTOR_FILENAME: text_format.MessageToString(config).encode(),
        }


def input_of_layer(
    model: keras.Model, x: Any, *, layer: str | None = None
) -> npt.NDArray[np.float32]:
    """The input of a layer, float32 (n, features); works for all kinds of models.

    Args:
        model: a built model.
        x: the model's input, (n, ...).
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
    if not candidates:
        raise UsageError(
            f"no layer with weights has that name. Received: {layer}. "
            f"Expected: one of {', '.join(part.name for part in leaves) or 'none'}."
        )
    seen: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        for part in candidates:
            stack.enter_context(_watched(part, seen))
        call(network_of(model), keras.ops.convert_to_tensor(x))
    points = keras.ops.convert_to_numpy(list(seen.values())[-1])
    return np.asarray(points, np.float32).reshape(len(x), -1)


@contextlib.contextmanager
def _watched(layer, seen):
    """Within the context, ``seen`` records the layer's last input, in the order of the calls."""

    def watched_call(call, inputs, *args, **kwargs):
        seen.pop(id(layer), None)
        seen[id(layer)] = inputs
        return call(inputs, *args, **kwargs)

    with _keras.replaced_call(layer, watched_call):
        yield


def _lines(lines):
    return "".join(f"{line}\n" for line in lines).encode()
