import os
import shutil

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from mnist_keras.callbacks import Checkpoint, EventCallback, StepLogger
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.tensorboard.earlier_runs import EarlierRun
from mnist_keras.callbacks.tensorboard.event_log import EventLog, read_scalars
from mnist_keras.checkpoint.training_state import Position
from mnist_keras.errors import MnistKerasError
from tests.callbacks.killing import Kill, Killed


def write(logdir, *, step, end, value=0.0, repeats=False):
    """One session: a point at each step from ``step`` to before ``end``."""
    log = EventLog(logdir, step=step, repeats=repeats)
    for s in range(step, end):
        log.scalar("train", "loss", value + s, s)
    log.scalar(".", "test_loss", value, end - 1)
    log.close()
    return log


def straight(end, value=0.0):
    return {step: value + step for step in range(end)}


def test_a_new_training_moves_the_earlier_ones_files(tmp_path, points_of):
    assert write(tmp_path, step=0, end=5).earlier is None
    log = write(tmp_path, step=0, end=3, value=10)
    assert log.earlier == EarlierRun(tmp_path / "earlier-1", first=0, last=4)
    assert points_of(tmp_path / "train") == {"loss": straight(3, 10)}
    assert points_of(tmp_path) == {"test_loss": {2: 10.0}}
    assert points_of(tmp_path / "earlier-1" / "train") == {"loss": straight(5)}
    assert points_of(tmp_path / "earlier-1") == {"test_loss": {4: 0.0}}


def test_each_training_has_a_directory_of_its_own(tmp_path, points_of):
    for value in (10, 20, 30):
        write(tmp_path, step=0, end=3, value=value)
    places = {"earlier-1/train": 10, "earlier-2/train": 20, "train": 30}
    assert {place: points_of(tmp_path / place) for place in places} == {
        place: {"loss": straight(3, value)} for place, value in places.items()
    }


def test_a_training_from_a_later_step_shares_the_first_steps(tmp_path, points_of):
    write(tmp_path, step=0, end=5)
    log = write(tmp_path, step=2, end=4, value=10)
    assert log.earlier == EarlierRun(tmp_path / "earlier-1", first=0, last=4)
    assert points_of(tmp_path / "train") == {"loss": {0: 0.0, 1: 1.0, 2: 12.0, 3: 13.0}}
    assert points_of(tmp_path / "earlier-1" / "train") == {"loss": straight(5)}


@pytest.mark.parametrize("step", [4, 5, 9])
def test_a_training_from_the_last_step_continues_the_run(step, tmp_path, points_of):
    write(tmp_path, step=0, end=5)
    assert write(tmp_path, step=step, end=step + 1, value=10).earlier is None
    assert points_of(tmp_path / "train") == {"loss": {**straight(5), step: 10.0 + step}}
    assert not (tmp_path / "earlier-1").exists()


def test_a_running_tensorboard_shows_both_trainings(tmp_path):
    write(tmp_path, step=0, end=5)
    watching = EventAccumulator(str(tmp_path / "train"), tensor_size_guidance={"tensors": 0})
    watching.Reload()
    log = EventLog(tmp_path, step=0, repeats=False)
    watching.Reload()
    assert watching.Tensors("loss") == []
    log.scalar("train", "loss", 7.0, 0)
    watching.Reload()
    assert [event.step for event in watching.Tensors("loss")] == [0]


def test_files_without_points_are_not_kept(tmp_path):
    log = EventLog(tmp_path, step=0)
    log.scalar("train", "loss", 1.0, 3)
    log.close()
    EventLog(tmp_path, step=0).close()
    assert EventLog(tmp_path, step=0, repeats=False).earlier is None


def test_a_move_that_fails_destroys_nothing(tmp_path, points_of, monkeypatch):
    write(tmp_path, step=0, end=5)
    for module, name, step in ((os, "replace", 0), (shutil, "copy2", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full_disk)
            with pytest.raises(MnistKerasError, match="No space left on device"):
                EventLog(tmp_path, step=step, repeats=False)
        assert points_of(tmp_path / "train") == {"loss": straight(5)}


def full_disk(*arguments):
    raise OSError(28, "No space left on device")


class Steps(EventCallback):
    """Logs a value at each step."""

    def __init__(self, logdir, value):
        super().__init__(logdir)
        self._value = value

    def on_train_batch_end(self, batch, logs=None):
        self.log_scalars({"value": self._value}, keep=False)
        super().on_train_batch_end(batch, logs)


@pytest.fixture
def train(make_model, make_plain, stream, tmp_path, capsys):
    """One training of 7 steps per epoch; returns what it says on stderr."""

    def run(value, *more, plain=False, epochs=1, end=None):
        model = (make_plain if plain else make_model)()
        logged = [Steps(tmp_path, value), StepLogger(tmp_path, echo=False)]
        kill = [] if end is None else [Kill(end)]
        try:
            model.fit(stream, epochs=epochs, verbose=0, callbacks=[*logged, *more, *kill])
        except Killed:
            for callback in logged:
                callback.close()
        return capsys.readouterr().err

    return run


def values(path):
    return dict(read_scalars(path, ".").get("value", []))


def checkpoint(tmp_path, **arguments):
    return Checkpoint(tmp_path / "checkpoints", every_steps=3, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False])
def test_a_rerun_keeps_the_curves_and_says_where(plain, train, tmp_path):
    assert train(1, plain=plain) == ""
    assert train(2, plain=plain) == (
        f"the TensorBoard points of an earlier training, of steps 0 to 7, are kept in {tmp_path}"
        "/earlier-1: this training does not continue it; a TapeModel with a Checkpoint would.\n"
    )
    assert values(tmp_path / "earlier-1") == dict.fromkeys(range(7), 1.0)
    assert values(tmp_path) == dict.fromkeys(range(7), 2.0)
    assert (tmp_path / "earlier-1" / "train").is_dir()


@pytest.mark.slow
def test_a_fit_that_continues_the_model_continues_the_curves(make_model, stream, tmp_path, capsys):
    model = make_model()
    for value, epochs in ((1, 1), (2, 2)):
        callbacks = [Steps(tmp_path, value)]
        model.fit(stream, initial_epoch=epochs - 1, epochs=epochs, verbose=0, callbacks=callbacks)
    expected = {**dict.fromkeys(range(7), 1.0), **dict.fromkeys(range(7, 14), 2.0)}
    assert values(tmp_path) == expected
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "earlier-1").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("killed_at", "resumed_at"), [(2, 0), (5, 3)])
def test_a_resumed_training_repeats_its_points_in_silence(killed_at, resumed_at, train, tmp_path):
    train(1, checkpoint(tmp_path), end=killed_at)
    said = train(2, checkpoint(tmp_path))
    assert [line for line in said.splitlines() if not line.startswith("resumed after")] == []
    expected = {step: 1.0 if step < resumed_at else 2.0 for step in range(7)}
    assert values(tmp_path) == expected
    assert not (tmp_path / "earlier-1").exists()


class Resuming(StepCallback):
    """Resumes after three steps, without a `Checkpoint`."""

    priority = 1

    def resume_position(self, callbacks):
        return Position(step=3, epoch=0, step_in_epoch=3)

    def on_train_begin(self, logs=None):
        self.model.steps_trained = 3
        super().on_train_begin(logs)


@pytest.mark.slow
def test_a_resuming_callback_of_your_own_repeats_its_points(train, tmp_path):
    train(1)
    assert train(2, Resuming()) == ""
    assert values(tmp_path) == {step: 1.0 if step < 3 else 2.0 for step in range(7)}
    assert not (tmp_path / "earlier-1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True])
def test_removed_checkpoints_begin_another_training(resumed, train, tmp_path):
    # The first one notes its first checkpoint, the second one where it resumes.
    train(1, checkpoint(tmp_path), end=5 if resumed else 7)
    if resumed:
        train(1, checkpoint(tmp_path), end=5)
    shutil.rmtree(tmp_path / "checkpoints")
    assert "are kept in" in train(2, checkpoint(tmp_path))
    assert values(tmp_path / "earlier-1") == dict.fromkeys(range(5 if resumed else 7), 1.0)
    assert values(tmp_path) == dict.fromkeys(range(7), 2.0)


@pytest.mark.slow
def test_a_checkpoint_that_is_added_later_begins_another_training(train, tmp_path):
    train(1)
    assert "are kept in" in train(2, checkpoint(tmp_path))
    assert values(tmp_path / "earlier-1") == dict.fromkeys(range(7), 1.0)


@pytest.mark.slow
def test_a_checkpoint_that_does_not_resume_begins_another_training(train, tmp_path):
    train(1, checkpoint(tmp_path))
    assert "are kept in" in train(2, checkpoint(tmp_path, resume=False))
    assert values(tmp_path / "earlier-1") == dict.fromkeys(range(7), 1.0)
