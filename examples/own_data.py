"""Your own data, in any form that Keras takes: here a keras.utils.PyDataset, two moons.

    python examples/own_data.py --logdir=logs/own_data

An interrupted run resumes in the middle of an epoch with such data too. The batches that were used
before are drawn again and skipped, so they must come in the same order.
"""

import argparse

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.console.argument_parser import local_path_argument


class Moons(keras.utils.PyDataset):
    """Points of two interlocking half circles, and the half circle of each point."""

    def __init__(self, *, batches, batch_size=32, seed=0):
        super().__init__()
        self._batches, self._batch_size, self._seed = batches, batch_size, seed

    def __len__(self):
        return self._batches

    def __getitem__(self, index):
        random = np.random.default_rng((self._seed, index))
        moon = random.integers(0, 2, self._batch_size)
        angle = np.pi * (random.random(self._batch_size) + moon)
        points = np.stack([np.cos(angle) + moon, np.sin(angle) + moon / 2], axis=1)
        return (points + random.normal(0, 0.1, points.shape)).astype("float32"), moon


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/own_data")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()

    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    model = TapeModel(keras.Sequential([keras.Input((2,)), *layers]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(
        Moons(batches=50),
        epochs=arguments.epochs,
        shuffle=False,
        verbose=0,
        validation_data=Moons(batches=5, seed=1),
        callbacks=[
            StepLogger(arguments.logdir, every_steps=50),
            Checkpoint(f"{arguments.logdir}/checkpoints", monitor="val_loss"),
            GracefulShutdown(),
        ],
    )
    scores = model.evaluate(Moons(batches=20, seed=2), verbose=0, return_dict=True)
    print(f"test accuracy: {scores['accuracy']:.4f}")


if __name__ == "__main__":
    main()
