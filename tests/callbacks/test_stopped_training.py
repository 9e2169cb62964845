"""A rerun of a training that a callback ended early trains as an uninterrupted one would."""

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, Interrupted

pytestmark = pytest.mark.slow

X, Y = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)
LOSSES = (0.5, 0.4, 0.6, 0.6, 0.3, 0.7, 0.7, 0.7)


class Scores(keras.callbacks.Callback):
    """Epochs with given values of a metric."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = LOSSES[epoch]


class StopAfter(keras.callbacks.Callback):
    """Ends the training after an epoch, or after a batch of it."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self._epoch, self._batch, self._now = epoch, batch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self._now, batch) == (self._epoch, self._batch):
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._epoch:
            self.model.stop_training = True


@pytest.fixture
def fit(tmp_path):
    """Train in a program that has just begun; returns (history, model, lines)."""

    def fit(*stoppers, epochs=8, name="run"):
        keras.utils.set_random_seed(1)
        model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
        model.compile(optimizer="adam", loss="mse")
        lines = []
        checkpoint = Checkpoint(tmp_path / name, notice=lines.append)
        arguments = {"batch_size": 2, "epochs": epochs, "verbose": 0}
        history = model.fit(X, Y, callbacks=[Scores(), *stoppers, checkpoint], **arguments)
        return history, model, [line.replace(str(tmp_path), "") for line in lines]

    return fit


def early(patience, **arguments):
    return keras.callbacks.EarlyStopping("val_loss", patience=patience, **arguments)


def stopped(*, epochs, done, steps):
    return [
        f"resumed after {steps} steps, from /run/step-{steps:08d}",
        "the training was stopped early: nothing is trained. Received: stop_training after "
        f"{done} of {epochs} epochs. Expected: an EarlyStopping with more patience, which "
        "continues, or Checkpoint(another directory, start_from=...) to train more from /run.",
    ]


STOPPERS = {
    "by EarlyStopping": (lambda: early(2), 4),
    "by EarlyStopping that restores the best": (lambda: early(2, restore_best_weights=True), 4),
    "by a callback at the end of an epoch": (lambda: StopAfter(2), 3),
    "by a callback in an epoch": (lambda: StopAfter(2, batch=1), 3),
}


@pytest.mark.parametrize("epochs", [8, 9])
@pytest.mark.parametrize("stopper", STOPPERS)
def test_a_rerun_of_a_stopped_training_trains_nothing(stopper, epochs, fit):
    make, done = STOPPERS[stopper]
    history, model, _ = fit(make())
    for _ in range(2):
        again, same, lines = fit(make(), epochs=epochs)
        assert (again.history, again.epoch) == (history.history, list(range(done)))
        assert same.steps_trained == model.steps_trained
        for found, expected in zip(same.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert lines == stopped(epochs=epochs, done=done, steps=model.steps_trained)


def test_with_more_patience_it_continues_as_if_never_stopped(fit):
    fit(early(2))
    history, model, lines = fit(early(3))
    whole, uninterrupted, _ = fit(early(3), name="whole")
    assert history.history == whole.history
    assert len(whole.history["loss"]) == 8
    for found, expected in zip(model.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert lines == ["resumed after 16 steps, from /run/step-00000016"]


def test_with_more_patience_it_may_stop_later(fit):
    fit(early(2), epochs=20)
    for _ in range(2):
        history, _, lines = fit(early(3), epochs=20)
        assert history.epoch == [0, 1, 2, 3, 4, 5, 6, 7]
    assert lines == stopped(epochs=20, done=8, steps=32)


def test_with_more_patience_it_may_be_interrupted_before_it_stops(fit):
    fit(early(2), epochs=20)
    stopper = early(3)
    history, _, _ = fit(stopper, epochs=6)
    assert (history.epoch, stopper.stopped_epoch) == ([0, 1, 2, 3, 4, 5], 0)


@pytest.mark.parametrize("epoch", [2, 7])
def test_a_stop_in_the_last_epoch_is_a_normal_end(epoch, fit):
    fit(StopAfter(epoch), epochs=epoch + 1)
    _, _, lines = fit(StopAfter(epoch), epochs=epoch + 1)
    assert lines[1].startswith("all epochs are done: nothing is trained.")


def test_a_signal_is_no_end_of_the_training(fit):
    class Signal(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                shutdown._handle(15, None)

    shutdown = GracefulShutdown()
    with pytest.raises(Interrupted):
        fit(Signal(), shutdown)
    history, _, lines = fit(GracefulShutdown())
    assert history.epoch == [0, 1, 2, 3, 4, 5, 6, 7]
    assert lines == ["resumed after 12 steps, from /run/step-00000012"]
