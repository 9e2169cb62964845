"""Trains with sinks and may kill itself: ``python killed_program.py DIRECTORY KILL_AT SINKS...``.

KILL_AT is a step, "never", or a step with "sent" before it: killed when its values have arrived.
"""

import os
import pathlib
import signal
import sys
import threading

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, StepLogger, sinks
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.sinks.tracker import TrackerSink

EPOCHS, STEPS_PER_EPOCH, SAVED_EVERY = 3, 10, 4
LONG_S = 240


class KillAt(StepCallback):
    """Ends the process as ``kill -9`` does, after all other callbacks have seen a step."""

    priority = 9

    def __init__(self, when, arrivals):
        super().__init__()
        self._step = -1 if when == "never" else int(when.removeprefix("sent"))
        self._arrivals = arrivals if when.startswith("sent") else []

    def breaks_execution_at(self, step):
        return step == self._step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == self._step:
            for arrival in self._arrivals:
                arrival.wait_for(self._step - 1)
            os.kill(os.getpid(), signal.SIGKILL)


class Arrival:
    """Notes the last step that a tracker has."""

    def __init__(self, sink):
        self._name, self._last, self._changed = type(sink).__name__, -1, threading.Condition()
        self._send, self._lacking = sink.send, sink.lacking
        sink.send, sink.lacking = self.send, self.lacking

    def send(self, rows):
        self._send(rows)
        self._note(rows[-1][0])

    def lacking(self, step, values):
        lacking = self._lacking(step, values)
        if not lacking:  # An attempt that failed may have sent it.
            self._note(step)
        return lacking

    def wait_for(self, step):
        with self._changed:
            is_there = self._changed.wait_for(lambda: self._last >= step, LONG_S)
        assert is_there, f"{self._name} has the steps up to {self._last}, not up to {step}"

    def _note(self, step):
        with self._changed:
            self._last = max(self._last, step)
            self._changed.notify()


def make_sinks(directory, names):
    make = {
        "csv": lambda: sinks.CsvSink(directory / "steps.csv"),
        "jsonl": lambda: sinks.JsonLinesSink(directory / "steps.jsonl"),
        "mlflow": lambda: sinks.MlflowSink(
            directory / "mlflow", tracking_uri=f"sqlite:///{directory}/mlflow.db"
        ),
        "wandb": lambda: sinks.WandbSink(directory / "wandb", mode="offline"),
        "aim": lambda: sinks.AimSink(directory / "aim", repo=directory / "repo"),
    }
    return [make[name]() for name in names]


def main(directory, when, names):
    directory = pathlib.Path(directory)
    TrackerSink.patience_s, TrackerSink.retry_s = LONG_S, 1
    made = make_sinks(directory, names)
    arrivals = [Arrival(sink) for sink in made if isinstance(sink, TrackerSink)]
    keras.utils.set_random_seed(1)
    layers = [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = TapeModel(keras.Sequential(layers))
    model.compile(optimizer="adam", loss="mse", steps_per_execution=3)
    x = np.random.default_rng(0).normal(size=(10 * STEPS_PER_EPOCH, 3))
    y = x.sum(axis=1, keepdims=True)
    logger = StepLogger(None, every_steps=1, echo=False, sinks=made)
    checkpoint = Checkpoint(directory / "checkpoints", every_steps=SAVED_EVERY)
    model.fit(
        x,
        y,
        batch_size=10,
        epochs=EPOCHS,
        validation_data=(x[:10], y[:10]),
        verbose=0,
        callbacks=[logger, checkpoint, KillAt(when, arrivals)],
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
