"""Your own network with two outputs: which digit an image shows, and how much ink it has.

    python examples/two_outputs.py --logdir=logs/two_outputs

Losses, their weights and metrics refer to the outputs by name, as for any keras.Model.
"""

import argparse

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load


def network():
    """Images (n, 28, 28) in, {"digit": (n, 10), "ink": (n, 1)} out."""
    image = keras.Input((28, 28), name="image")
    hidden = keras.layers.Dense(128, "relu")(keras.layers.Flatten()(image))
    digit = keras.layers.Dense(10, name="digit")(hidden)
    ink = keras.layers.Dense(1, name="ink")(hidden)
    return keras.Model(image, {"digit": digit, "ink": ink})


def examples(data):
    """(images, {"digit": classes, "ink": amounts})."""
    images = data.images / np.float32(255)
    return images, {"digit": data.labels, "ink": images.mean((1, 2))[:, None]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/two_outputs")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    train, test = load("auto")
    model = TapeModel(network())
    model.compile(
        optimizer="adam",
        loss={
            "digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "ink": "mean_squared_error",
        },
        loss_weights={"digit": 1.0, "ink": 10.0},
        metrics={"digit": ["accuracy"], "ink": ["mean_absolute_error"]},
    )
    model.fit(
        *examples(train),
        batch_size=100,
        epochs=arguments.epochs,
        shuffle=False,  # Otherwise a resumed run would see different batches.
        verbose=0,
        callbacks=[
            StepLogger(arguments.logdir),
            Checkpoint(f"{arguments.logdir}/checkpoints"),
            GracefulShutdown(),
        ],
    )
    scores = model.evaluate(*examples(test), verbose=0, return_dict=True)
    print(f"test accuracy: {scores['digit_accuracy']:.4f}")
    print(f"mean error of the ink: {scores['ink_mean_absolute_error']:.4f}")


if __name__ == "__main__":
    main()
