"""Another data set: CIFAR-10, in colour and with class names, in all TensorBoard pages.

    python examples/cifar10.py --data_dir=cifar-10-batches-bin --logdir=logs/cifar10

A `DatasetDescription` describes the images; the stream, the network and the pictures use it.
The directory holds the files of the binary version, https://www.cs.toronto.edu/~kriz/cifar.html.
Without them, the example draws a small substitute data set of coloured shapes.
"""

import argparse
import dataclasses
import pathlib

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import (
    Checkpoint,
    ClassScores,
    ConfusionMatrix,
    FirstLayerWeights,
    GracefulShutdown,
    Histograms,
    InputSample,
    Mistakes,
    NetworkGraph,
    PRCurves,
    Projector,
    StepLogger,
)
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.console.terminal import print_line
from mnist_keras.data import DatasetDescription, Examples, batches
from mnist_keras.probabilities import probabilities

CIFAR10 = DatasetDescription(
    image_shape=(32, 32, 3),
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
)
KINDS = ("disc", "square", "ring", "cross", "diamond")
COLORS = {"red": (210, 70, 60), "blue": (60, 90, 210)}
SHAPES = dataclasses.replace(
    CIFAR10, class_names=tuple(f"{color} {kind}" for color in COLORS for kind in KINDS)
)


def load(data_dir):
    """(train, test) of CIFAR-10, or of the substitute if the directory lacks the files."""
    directory = pathlib.Path(data_dir)
    train, test = sorted(directory.glob("data_batch_?.bin")), directory / "test_batch.bin"
    if train and test.exists():
        return read(*train), read(test)
    print_line(
        f"{directory} does not contain the files of CIFAR-10: coloured shapes are used instead."
    )
    return draw(2000, seed=0), draw(500, seed=1)


def read(*paths):
    """`Examples` from files of records: a class byte, then all red, green and blue values."""
    height, width, channels = CIFAR10.image_shape
    size = 1 + height * width * channels
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, size) for path in paths])
    images = records[:, 1:].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return Examples(np.ascontiguousarray(images), records[:, 0], description=CIFAR10)


def draw(count, *, seed):
    """`Examples` with one coloured shape each, of random size and at a random place."""
    random = np.random.default_rng(seed)
    height, width, channels = SHAPES.image_shape
    labels = random.integers(0, SHAPES.classes, count, np.uint8)
    color, kind = np.divmod(labels, len(KINDS))
    middle = random.uniform(11, 21, (2, count, 1, 1))
    radius = random.uniform(6, 10, (count, 1, 1))
    y, x = np.abs(np.mgrid[:height, :width][:, np.newaxis] - middle)
    distance, farther, nearer = np.hypot(x, y), np.maximum(x, y), np.minimum(x, y)
    shapes = {
        "disc": distance < radius,
        "square": farther < 0.8 * radius,
        "ring": np.abs(distance - 0.8 * radius) < 0.25 * radius,
        "cross": (nearer < 0.25 * radius) & (farther < radius),
        "diamond": x + y < radius,
    }
    shape = np.stack([shapes[name] for name in KINDS])[kind, np.arange(count)]
    colors = np.array(list(COLORS.values()))[color] + random.normal(0, 20, (count, channels))
    grounds = random.uniform(40, 160, (count, 1, 1, 1))
    images = np.where(shape[..., np.newaxis], colors[:, np.newaxis, np.newaxis], grounds)
    images += random.normal(0, 12, images.shape)
    return Examples(images.clip(0, 255).astype(np.uint8), labels, description=SHAPES)


def batches_of(examples, *, shuffle=False):
    """The stream over some `Examples`."""
    return batches(
        examples.images,
        examples.labels,
        batch_size=50,
        shuffle=shuffle,
        description=examples.description,
    )


def network(description):
    """Two convolutions and two dense layers."""
    return keras.Sequential(
        [
            keras.Input(description.image_shape),
            keras.layers.Conv2D(32, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(description.classes),
        ]
    )


def dashboards(logdir, stream, test):
    """The TensorBoard callbacks besides the curves."""

    def first_batch():
        return next(iter(stream))

    names = test.description.class_names
    exam = Exam(test.images, test.labels, name="test images", description=test.description)
    return [
        NetworkGraph(logdir),
        InputSample(logdir, first_batch, class_names=names, every_epochs=1),
        FirstLayerWeights(logdir, every_epochs=1),
        Histograms(logdir, first_batch(), every_epochs=1),
        Mistakes(logdir, exam, every_epochs=1),
        ConfusionMatrix(logdir, exam, every_epochs=1),
        ClassScores(logdir, exam, every_epochs=1),
        PRCurves(logdir, exam, every_epochs=1),
        Projector(logdir, exam, every_epochs=1),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=local_path_argument, default="cifar-10-batches-bin")
    parser.add_argument("--logdir", type=local_path_argument, default="logs/cifar10")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    train, test = load(arguments.data_dir)
    stream = batches_of(train, shuffle=True)
    model = TapeModel(network(train.description))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(
        stream,
        epochs=arguments.epochs,
        verbose=0,
        callbacks=[
            StepLogger(arguments.logdir),
            Checkpoint(f"{arguments.logdir}/checkpoints"),
            GracefulShutdown(),
            *dashboards(arguments.logdir, stream, test),
        ],
    )
    scores = model.evaluate(batches_of(test), verbose=0, return_dict=True)
    print(f"test accuracy: {scores['accuracy']:.4f}")

    names, images = test.description.names, test.images[:5]
    scores = model.predict(test.description.preprocess(images), verbose=0)
    for label, chances in zip(test.labels, probabilities(scores, loss=loss), strict=False):
        print(f"{names[label]}: read as {names[chances.argmax()]} ({chances.max():.0%})")


if __name__ == "__main__":
    main()
