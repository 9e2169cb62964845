"""Trainings that are interrupted in several places and resumed, as JSON."""

import contextlib
import json
import pathlib
import sys
import types

import keras
import numpy as np

from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.callbacks.tensorboard.event_log import read_scalars

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 6)).astype("float32")
Y = RNG.normal(size=(22, 1)).astype("float32")
STEPS, EPOCHS = 5, 4


class Killed(Exception):
    """A training was ended."""


class Kill(keras.callbacks.Callback):
    """Ends a training after a number of its own steps, once all other callbacks have seen it."""

    def __init__(self, steps):
        super().__init__()
        self.countdown = types.SimpleNamespace(left=steps)  # No checkpoint sets it back.

    def on_train_batch_begin(self, batch, logs=None):
        if self.countdown.left == 0:
            raise Killed
        self.countdown.left -= 1


class Counter(keras.callbacks.Callback):
    """Counts the steps that callbacks see, also over interruptions."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(STEPS * self.epoch + batch)


def train(directory, *, killed_after=None, said=None, data=None):
    """Train as far as it goes; returns (history, weights, steps that callbacks saw)."""
    keras.utils.set_random_seed(3)
    network = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.4)]
    model = keras.Sequential([*network, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
    counter = Counter()
    callbacks = [
        Checkpoint(directory, every_steps=2, notice=(said if said is not None else []).append),
        keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=9.0, factor=0.5),
        keras.callbacks.EarlyStopping("loss", patience=9),
        counter,
        StepLogger(directory / "logs", every_steps=1, echo=False),
        *([] if killed_after is None else [Kill(killed_after)]),
    ]
    given = {"x": X, "y": Y, "batch_size": 5} if data is None else data()
    arguments = {"epochs": EPOCHS, "verbose": 0, "callbacks": callbacks}
    with contextlib.suppress(Killed):
        model.fit(**given, validation_data=(X, Y), **arguments)
    callbacks[0].close()
    return model.history.history, [weight.tolist() for weight in model.get_weights()], counter.seen


def points(directory):
    """{tag: [(step, value), ...]} of the losses and learning rates in TensorBoard."""
    found = read_scalars(str(directory / "logs"), "train")
    return {tag: found[tag] for tag in ("loss", "learning_rate", "epoch_loss", "epoch_mae")}


def main(directory):
    whole = train(directory / "whole")
    found = {"whole": [len(whole[2]), sorted(whole[0])], "parts": {}}
    for kills in ([7], [10], [1, 2]):
        path, said, seen = directory / "-".join(map(str, kills)), [], []
        for kill in kills:
            seen.append(train(path, killed_after=kill)[2])
        history, weights, last = train(path, said=said)
        found["parts"][str(kills)] = {
            "history": history == whole[0],
            "weights": weights == whole[1],
            "seen": [*seen, last],
            "said": [line.partition(", from")[0] for line in said],
            "points": points(path) == points(directory / "whole"),
        }
    found["other"] = other_data(directory)
    print(json.dumps(found, default=float))


def other_data(directory):
    """What is said about a generator, about changed arrays, and by a strict checkpoint."""

    def generator():
        while True:
            yield X[:5], Y[:5]

    said = []
    given = {"steps_per_epoch": STEPS}
    train(directory / "gen", killed_after=3, said=said, data=lambda: {"x": generator(), **given})
    changed = []
    train(directory / "changed", killed_after=3)
    train(directory / "changed", said=changed, data=lambda: {"x": -X, "y": Y, "batch_size": 5})
    return {"generator": said, "changed": [it for it in changed if "exact" in it]}


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
