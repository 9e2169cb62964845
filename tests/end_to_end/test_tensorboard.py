"""TensorBoard, open while a run is interrupted and resumed, and started afterwards."""

import contextlib
import json
import time
import types
import urllib.error
import urllib.parse
import urllib.request

import keras
import pytest

from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.data import batches
from tests.browser import tensorboard

pytestmark = pytest.mark.slow

EPOCHS = 3
TAGS = ("loss", "learning_rate", "gradient_norm", "epoch_loss", "epoch_accuracy")


class BreakAfter(keras.callbacks.Callback):
    """Raises after a number of batches."""

    def __init__(self, batches_left):
        super().__init__()
        self.countdown = types.SimpleNamespace(left=batches_left)  # No checkpoint sets it back.

    def on_train_batch_end(self, batch, logs=None):
        self.countdown.left -= 1
        if self.countdown.left == 0:
            raise ConnectionAbortedError


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def train(make_model, digits, logdir):
    """Train or resume a run, until its end or for a number of batches."""

    def call(name, *, batches_left=None):
        callbacks = [
            StepLogger(logdir / name, every_steps=3, echo=False),
            Checkpoint(logdir / name / "checkpoints", every_steps=8),
        ]
        model = make_model(optimizer="adam", dropout=0.3)
        stream = batches(*digits, batch_size=50, shuffle=True)
        if batches_left is not None:
            callbacks.append(BreakAfter(batches_left))
        with contextlib.suppress(ConnectionAbortedError):
            model.fit(stream, epochs=EPOCHS, verbose=0, callbacks=callbacks)

    return call


def points(address, run, tag):
    """[(step, value), ...] as TensorBoard gives it to its page; empty before it knows the run."""
    query = urllib.parse.urlencode({"run": f"{run}/train", "tag": tag})
    try:
        with urllib.request.urlopen(f"{address}data/plugin/scalars/scalars?{query}") as answer:
            return [(step, value) for _, step, value in json.load(answer)]
    except urllib.error.HTTPError:
        return []


def eventually(read, expected, *, patience_s=60):
    """The result of ``read`` as soon as it is as expected, or at the time limit."""
    deadline = time.monotonic() + patience_s
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def test_open_and_new_tensorboards_show_each_step_once(train, logdir):
    def all_points(address, run):
        return {tag: points(address, run, tag) for tag in TAGS}

    train("whole")
    train("resumed", batches_left=31)
    with tensorboard(logdir) as open_all_along:
        assert eventually(lambda: len(points(open_all_along, "whole", "epoch_accuracy")), 3) == 3
        whole = all_points(open_all_along, "whole")
        assert [step for step, _ in whole["loss"]] == list(range(0, 60, 3))
        assert [step for step, _ in whole["epoch_loss"]] == [20, 40, 60]
        first_part = whole["loss"][:11]
        assert (
            eventually(lambda: points(open_all_along, "resumed", "loss"), first_part) == first_part
        )
        train("resumed", batches_left=17)
        train("resumed")
        assert eventually(lambda: all_points(open_all_along, "resumed"), whole) == whole
    with tensorboard(logdir) as started_after:
        assert eventually(lambda: all_points(started_after, "resumed"), whole) == whole
