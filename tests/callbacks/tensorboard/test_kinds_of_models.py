"""Every callback that shows inputs or answers, on each kind of model and data that people train."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import (
    ClassScores,
    ConfusionMatrix,
    FirstLayerWeights,
    InputSample,
    Mistakes,
    PRCurves,
    Projector,
)
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.step_logger import StepLogger

pytestmark = pytest.mark.slow

COUNT = 48
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CHANCE = np.random.default_rng(0)
CLASSES = np.arange(COUNT) % 3
DENSE = {"kernel_initializer": keras.initializers.RandomNormal(seed=5)}

# What a callback may say instead of showing it.
NO_IMAGES = "the examples are not images. Received: "
NO_CLASSIFIER = "the model is not a classifier. Received: outputs of the shape "
NO_CLASSES = "the targets are not classes. Received: "
NO_KERNEL = "the weights of a unit are not an image. Received: "


def bright(*shape, most=255, dtype=np.uint8, classes=CLASSES):
    """Noise that is brighter in higher classes, so a wrong scale leads to other predictions."""
    level = classes.reshape(-1, *[1] * len(shape)) / (classes.max() + 1)
    noise = CHANCE.random((COUNT, *shape))
    return (most * (0.3 * level + 0.7 * noise)).astype(dtype)


def stacked(shape, *layers, dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def image_and_table():
    shapes = {"image": (8, 8, 1), "table": (5,)}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(inputs["image"]), inputs["table"]])
    return keras.Model(inputs, keras.layers.Dense(3, **DENSE)(joined))


def two_outputs():
    inputs = keras.Input((8, 8))
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(units)(flat) for units in (3, 2)])


@dataclasses.dataclass
class Kind:
    """A model and its data.

    Attributes:
        network: makes the network.
        loss: its loss.
        x, y: its data.
        accuracy: the metric with which Keras counts correct predictions; None: no classifier.
        missing: {the beginning of a line on stderr}.
    """

    network: Callable[[], Any]
    loss: Any
    x: Any
    y: Any
    accuracy: Any = "accuracy"
    missing: frozenset[str] = frozenset()


def nothing(*names, reason):
    return frozenset(f"{name} shows nothing: {reason}" for name in names)


OF_ANSWERS = ("ClassScores", "ConfusionMatrix", "Mistakes", "PRCurves")
WITHOUT_IMAGES = {
    *nothing("InputSample", "Mistakes", reason=NO_IMAGES),
    *nothing("FirstLayerWeights", reason=NO_KERNEL),
    f"Projector shows no images: {NO_IMAGES}",
}
NO_CLASSES_IN_PROJECTOR = f"Projector shows no classes: {NO_CLASSES}"
TABLE = CHANCE.random((COUNT, 20)).astype(np.float32)
TOKENS = CHANCE.integers(0, 50, (COUNT, 12))
BINARY = np.arange(COUNT) % 2
KINDS = {
    "images that the model scales": Kind(
        lambda: stacked(
            (8, 8, 3),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(3, **DENSE),
        ),
        SPARSE,
        bright(8, 8, 3),
        CLASSES,
    ),
    "a table": Kind(
        lambda: stacked((20,), keras.layers.Dense(3, activation="softmax", **DENSE)),
        "sparse_categorical_crossentropy",
        TABLE,
        CLASSES,
        missing=WITHOUT_IMAGES,
    ),
    "a text": Kind(
        lambda: stacked(
            (12,),
            keras.layers.Embedding(50, 16),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3, **DENSE),
            dtype="int64",
        ),
        SPARSE,
        TOKENS,
        CLASSES,
        missing=WITHOUT_IMAGES,
    ),
    "a text that the model splits": Kind(
        lambda: stacked(
            (1,),
            keras.layers.TextVectorization(vocabulary=["red", "green", "blue"]),
            keras.layers.Embedding(5, 9),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3, **DENSE),
            dtype="string",
        ),
        SPARSE,
        tf.constant(CHANCE.choice(["red blue", "green", "blue red red"], (COUNT, 1))),
        CLASSES,
        missing=WITHOUT_IMAGES,
    ),
    "an image and a table": Kind(
        image_and_table,
        SPARSE,
        {"image": bright(8, 8, 1, most=1, dtype=np.float32), "table": TABLE[:, :5]},
        CLASSES,
        missing=nothing("FirstLayerWeights", reason=NO_KERNEL),
    ),
    "two classes by a sigmoid": Kind(
        lambda: stacked(
            (8, 8), keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid", **DENSE)
        ),
        "binary_crossentropy",
        bright(8, 8, most=1, dtype=np.float32, classes=BINARY),
        BINARY,
    ),
    "two classes by a logit": Kind(
        lambda: stacked((8, 8), keras.layers.Flatten(), keras.layers.Dense(1, **DENSE)),
        keras.losses.BinaryCrossentropy(from_logits=True),
        bright(8, 8, most=1, dtype=np.float32, classes=BINARY),
        BINARY,
        accuracy=keras.metrics.BinaryAccuracy("accuracy", threshold=0.0),
    ),
    "an autoencoder": Kind(
        lambda: stacked(
            (8, 8, 1),
            keras.layers.Conv2D(4, 3, padding="same"),
            keras.layers.Conv2D(1, 3, padding="same"),
        ),
        "mse",
        bright(8, 8, 1, most=1, dtype=np.float32),
        bright(8, 8, 1, most=1, dtype=np.float32),
        accuracy=None,
        missing=nothing(*OF_ANSWERS, reason=NO_CLASSIFIER) | {NO_CLASSES_IN_PROJECTOR},
    ),
    "floats from 0 to 255": Kind(
        lambda: stacked(
            (8, 8, 3),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3, **DENSE),
        ),
        SPARSE,
        bright(8, 8, 3, dtype=np.float32),
        CLASSES,
    ),
    "floats from -1 to 1": Kind(
        lambda: stacked((8, 8, 3), keras.layers.Flatten(), keras.layers.Dense(3, **DENSE)),
        SPARSE,
        2 * bright(8, 8, 3, most=1, dtype=np.float32) - 1,
        CLASSES,
    ),
    "two outputs": Kind(
        two_outputs,
        "mse",
        bright(8, 8, most=1, dtype=np.float32),
        (np.eye(3)[CLASSES], TABLE[:, :2]),
        accuracy=None,
        missing=nothing(*OF_ANSWERS, reason=NO_CLASSIFIER) | {NO_CLASSES_IN_PROJECTOR},
    ),
    "a regression": Kind(
        lambda: stacked((20,), keras.layers.Dense(1)),
        "mse",
        TABLE,
        TABLE.sum(1),
        accuracy=None,
        missing=WITHOUT_IMAGES
        | nothing("ClassScores", "ConfusionMatrix", "PRCurves", reason=NO_CLASSIFIER)
        | {NO_CLASSES_IN_PROJECTOR},
    ),
    "a segmentation": Kind(
        lambda: stacked((8, 8, 1), keras.layers.Conv2D(3, 3, padding="same")),
        SPARSE,
        bright(8, 8, 1, most=1, dtype=np.float32),
        CHANCE.integers(0, 3, (COUNT, 8, 8)),
        accuracy=None,
        missing=nothing(*OF_ANSWERS, reason=NO_CLASSIFIER) | {NO_CLASSES_IN_PROJECTOR},
    ),
}


def arrays(x, y):
    return x, y


def data_set(x, y):
    return (tf.data.Dataset.from_tensor_slices((x, y)).batch(16),)


def compiled(kind, model):
    keras.utils.set_random_seed(1)
    model = kind.network() if model == "keras.Model" else TapeModel(kind.network())
    metrics = [kind.accuracy] if kind.accuracy else []
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=kind.loss, metrics=metrics)
    return model


def callbacks_for(directory, data):
    exam = Exam(*data)
    x, y = data if len(data) == 2 else next(iter(data[0]))
    logged = (ClassScores, ConfusionMatrix, Mistakes, PRCurves, Projector)
    return exam, [
        StepLogger(directory, echo=False),
        *(callback(directory / callback.__name__, exam, every_epochs=1) for callback in logged),
        InputSample(directory / "InputSample", lambda: (x, y), every_epochs=1),
        FirstLayerWeights(directory / "FirstLayerWeights", every_epochs=1),
    ]


@pytest.mark.parametrize(("model", "form"), [("keras.Model", data_set), ("TapeModel", arrays)])
@pytest.mark.parametrize("name", KINDS)
def test_all_is_shown_or_one_line_says_what_is_missing(name, model, form, tmp_path, capsys):
    kind, data = KINDS[name], form(KINDS[name].x, KINDS[name].y)
    trained = compiled(kind, model)
    exam, callbacks = callbacks_for(tmp_path, data)
    trained.fit(*data, epochs=2, verbose=0, callbacks=callbacks)
    printed = capsys.readouterr().err.splitlines()
    lines = sorted(line for line in printed if " shows " in line or line.startswith("Exam"))
    expected = sorted(kind.missing)
    assert len(lines) == len(expected), lines
    assert [line[: len(e)] for line, e in zip(lines, expected, strict=True)] == expected
    hidden = {line.partition(" ")[0] for line in lines if " shows nothing: " in line}
    written = {path.name for path in tmp_path.iterdir() if any(path.rglob("*.*"))}
    assert written == {type(callback).__name__ for callback in callbacks[1:]} - hidden | {"train"}
    if kind.accuracy:
        accuracy = trained.evaluate(*data, verbose=0, return_dict=True)["accuracy"]
        guesses = exam.probabilities(trained, int(trained.optimizer.iterations)).argmax(1)
        assert np.mean(guesses == exam.labels) == pytest.approx(accuracy)
        assert 0 < accuracy < 1
