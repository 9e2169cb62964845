"""The callbacks without TapeModel: on a plain keras.Model, together with Keras's callbacks.

    python examples/callbacks_alone.py --logdir=logs/callbacks_alone

Ctrl-C or SIGTERM ends it between two steps, after it has saved a checkpoint. When it is run again,
a plain keras.Model starts from the beginning; TapeModel(network) would resume.
"""

import argparse

import keras
import numpy as np

from mnist_keras.callbacks import Checkpoint, GracefulShutdown, Mistakes, StepLogger
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/callbacks_alone")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    train, test = load("auto")
    x, test_x = (part.images / np.float32(255) for part in (train, test))
    layers = [keras.layers.Flatten(), keras.layers.Dense(128, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((28, 28)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    # Without TapeModel.fit, `with` closes the callbacks if fit ends by an exception.
    with (
        StepLogger(arguments.logdir, every_steps=50) as logger,
        Checkpoint(f"{arguments.logdir}/checkpoints", resume=False) as checkpoint,
        GracefulShutdown() as shutdown,
        Mistakes(arguments.logdir, Exam(test_x, test.labels), every_epochs=1) as mistakes,
    ):
        model.fit(
            x,
            train.labels,
            batch_size=100,
            epochs=arguments.epochs,
            verbose=0,
            validation_split=0.1,
            callbacks=[
                logger,
                checkpoint,
                shutdown,
                mistakes,
                keras.callbacks.EarlyStopping("val_loss", patience=2),
                keras.callbacks.ReduceLROnPlateau("val_loss", patience=1),
            ],
        )
    scores = model.evaluate(test_x, test.labels, verbose=0, return_dict=True)
    print(f"test accuracy: {scores['accuracy']:.4f}")


if __name__ == "__main__":
    main()
