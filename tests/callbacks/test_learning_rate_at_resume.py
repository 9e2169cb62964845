"""A learning rate that the program has changed is not ignored without a word at a resume."""

import json

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from tests.callbacks.killing import Kill, Killed

pytestmark = pytest.mark.slow

X, Y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)
RESUMED = "resumed after 4 steps, from /run/step-00000004"
IGNORED = (
    "learning rate: the checkpoint's {} is used, not the script's {}; "
    "Checkpoint(use_new_learning_rate=True) uses the script's"
)
USED = "learning rate: the script's {} is used, not the checkpoint's {}"


def compiled(optimizer):
    keras.utils.set_random_seed(1)
    model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile(optimizer=optimizer, loss="mse")
    return model


@pytest.fixture
def fit(tmp_path):
    """Train one more epoch in a program that has just begun; returns (rate at the end, lines)."""

    def fit(optimizer, *callbacks, epochs, **arguments):
        model, lines = compiled(optimizer), []
        checkpoint = Checkpoint(tmp_path / "run", notice=lines.append, **arguments)
        model.fit(X, Y, batch_size=2, epochs=epochs, verbose=0, callbacks=[*callbacks, checkpoint])
        rate = float(model.optimizer.learning_rate)
        return round(rate, 7), [line.replace(str(tmp_path), "") for line in lines]

    return fit


def sgd(rate):
    return keras.optimizers.SGD(rate)


def scaled(rate):
    return keras.optimizers.LossScaleOptimizer(sgd(rate))


@pytest.mark.parametrize("kind", [sgd, scaled])
def test_a_new_rate_is_reported_but_not_used(kind, fit):
    assert fit(kind(0.01), epochs=1) == (0.01, [])
    assert fit(kind(0.01), epochs=2) == (0.01, [RESUMED])
    for epochs in (3, 4):
        rate, lines = fit(kind(0.001), epochs=epochs)
        assert (rate, lines[1:]) == (0.01, [IGNORED.format("0.01", "0.001")])


def test_a_new_rate_is_used_where_it_is_asked_for(fit):
    new = {"use_new_learning_rate": True}
    fit(sgd(0.01), epochs=1)
    assert fit(sgd(0.001), epochs=2, **new) == (0.001, [RESUMED, USED.format("0.001", "0.01")])
    rate, lines = fit(sgd(0.001), epochs=3, **new)
    assert (rate, lines[1:]) == (0.001, [])
    # It is the rate that this training began with from then on.
    rate, lines = fit(sgd(0.01), epochs=4)
    assert (rate, lines[1:]) == (0.001, [IGNORED.format("0.001", "0.01")])


def test_a_new_rate_is_used_in_mid_epoch(tmp_path):
    def run(rate, *callbacks):
        model = compiled(sgd(rate))
        checkpoint = Checkpoint(tmp_path, every_steps=3, use_new_learning_rate=True)
        halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        callbacks = [checkpoint, halved, *callbacks]
        model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=callbacks)
        return float(model.optimizer.learning_rate)

    with pytest.raises(Killed):
        run(0.5, Kill(6))
    # The second epoch had begun, so it does not halve the rate once more.
    assert run(0.375) == 0.375


@pytest.mark.parametrize("use_new_learning_rate", [False, True])
def test_a_rate_that_a_callback_changed_is_restored_silently(use_new_learning_rate, fit):
    def plateau():
        return keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=9)

    new = {"use_new_learning_rate": use_new_learning_rate}
    assert fit(sgd(0.01), plateau(), epochs=2, **new) == (0.005, [])
    rate, lines = fit(sgd(0.01), plateau(), epochs=3, **new)
    assert (rate, lines[1:]) == (0.0025, [])
    rate, lines = fit(sgd(0.5), plateau(), epochs=3, **new)
    expected = (
        USED.format("0.5", "0.0025")
        if new["use_new_learning_rate"]
        else IGNORED.format("0.0025", "0.5")
    )
    assert lines[2:] == [expected]
    assert rate == (0.5 if use_new_learning_rate else 0.0025)


def test_a_schedule_needs_no_line(fit):
    def schedule(rate):
        return sgd(keras.optimizers.schedules.ExponentialDecay(rate, 4, 0.5))

    assert fit(schedule(0.01), epochs=1) == (0.005, [])
    assert fit(schedule(0.001), epochs=2) == (0.00025, [RESUMED])


def test_a_second_fit_keeps_its_first_learning_rate(tmp_path, fit):
    model = compiled(sgd(0.01))
    checkpoint = Checkpoint(tmp_path / "run")
    model.fit(X, Y, verbose=0, callbacks=[checkpoint])
    model.optimizer.learning_rate = 0.005  # As a callback does.
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[checkpoint])
    rate, (_, line) = fit(sgd(0.01), epochs=3)
    assert rate == 0.005
    assert line.startswith("resume is not exact: the newest checkpoint is of a fit that began")


def test_a_checkpoint_of_an_earlier_version_gets_no_line(tmp_path, fit, monkeypatch):
    from mnist_keras.checkpoint import storage

    fit(sgd(0.01), epochs=1)
    original = storage.read_directory

    def without_notes(path):
        stored = original(path)
        description = json.loads(stored.files["state.json"])
        del description["learning_rates"], description["stopped"]
        stored.files["state.json"] = json.dumps(description).encode()
        return stored

    monkeypatch.setattr(storage, "read_directory", without_notes)
    assert fit(sgd(0.001), epochs=2) == (0.01, [RESUMED])


def test_each_optimizer_of_a_model_is_named(tmp_path):
    class Two(TapeModel):
        def __init__(self, rate):
            super().__init__(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
            self.d_optimizer = sgd(rate)
            self.d_optimizer.build(self.trainable_variables)

    lines = []
    for epochs, rate in ((1, 0.01), (2, 0.001)):
        model = Two(rate)
        model.compile(optimizer=sgd(rate), loss="mse")
        checkpoint = Checkpoint(tmp_path, notice=lines.append)
        model.fit(X, Y, batch_size=2, epochs=epochs, verbose=0, callbacks=[checkpoint])
    line = IGNORED.format("0.01", "0.001")
    of_d = line.replace("learning rate", "learning rate of d_optimizer", 1)
    assert sorted(lines[1:]) == sorted([line, of_d])
