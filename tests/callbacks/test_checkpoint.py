import dataclasses
import doctest
import errno
import json
import threading

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger, checkpoint
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.checkpoint import CheckpointError
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.storage import DamagedError, Disk
from mnist_keras.checkpoint.training_state import StateMismatchError, TrainingState
from mnist_keras.data import batches
from mnist_keras.errors import UsageError


@pytest.fixture
def run(stream, held_out, capsys):
    """One session of a training with all stateful parts; returns (history, printed)."""

    def run(directory, model, *others, every_steps):
        arguments = {
            "epochs": 3,
            "validation_data": batches(*held_out, batch_size=10),
            "verbose": 0,
            "callbacks": [
                keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=2.0),
                [keras.callbacks.EarlyStopping("val_loss", patience=9)],
                StepLogger(directory, every_steps=3),
                Checkpoint(directory / "checkpoints", every_steps=every_steps, keep=99),
                *others,
            ],
        }
        history, expected = None, ""
        if stored := sorted((directory / "checkpoints").glob("step-*")):
            steps = int(stored[-1].name.removeprefix("step-"))
            expected = f"resumed after {steps} steps, from {stored[-1]}\n"
            if steps == 3 * len(stream):
                expected += f"{nothing_is_trained(epochs=3)}\n"
        if others:
            with pytest.raises(RuntimeError, match="crash"):
                model.fit(stream, **arguments)
        else:
            history = model.fit(stream, **arguments).history
        printed = capsys.readouterr()
        assert printed.err == expected
        return history, printed.out

    return run


def kept_aside(directory, remedy=""):
    return (
        f"the checkpoints of an earlier training are kept in {directory}/earlier-1: this training "
        f"does not continue it.{remedy}\n"
    )


def nothing_is_trained(*, epochs):
    return (
        f"all epochs are done: nothing is trained. Received: epochs={epochs}, {epochs} done. "
        "Expected: more epochs, or another directory to train anew."
    )


# name: (every_steps, [where the sessions crash])
CHAINS = {
    "saved every 4 steps": (
        4,
        [
            {"step": 1},
            {"step": 4, "saved": True},
            {"step": 6},
            {"step": 7},
            {"epoch": 0, "saved": True},
            {"step": 13},
            {"step": 13},
            {"step": 14, "saved": True},
            {"epoch": 1},
            {"step": 20, "saved": True},
        ],
    ),
    "saved at the end of each epoch": (
        None,
        [
            {"step": 3},
            {"epoch": 0},
            {"epoch": 0, "saved": True},
            {"step": 8},
            {"epoch": 1, "saved": True},
            {"epoch": 2, "saved": True},
        ],
    ),
    "saved every epoch's number of steps": (7, [{"step": 8}, {"step": 14, "saved": True}]),
}


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_interruptions_do_not_change_one_bit_of_a_run(
    chain, run, model_of_a_session, crash, tmp_path, arrays_in, points_of
):
    every_steps, crashes = CHAINS[chain]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    model, pieces = model_of_a_session(begins=True), []
    expected_history, expected_printed = run(whole, model, every_steps=every_steps)
    expected_weights = model.get_weights()
    for number, where in enumerate(crashes):
        begins = not list(resumed.glob("checkpoints/*"))
        model = model_of_a_session(begins=begins, steps_per_execution=(5, 1, 100)[number % 3])
        pieces.append(run(resumed, model, crash(**where), every_steps=every_steps)[1])
    model = model_of_a_session(begins=False)
    history, printed = run(resumed, model, every_steps=every_steps)
    pieces.append(printed)

    assert history == expected_history
    for found, expected in zip(model.get_weights(), expected_weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    found, expected = arrays_in(resumed / "checkpoints"), arrays_in(whole / "checkpoints")
    assert list(found) == list(expected)
    for step, arrays in expected.items():
        assert found[step].keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(found[step][key], array, err_msg=f"{step} {key}")
    for subdirectory in ("train", "validation"):
        found, expected = points_of(resumed / subdirectory), points_of(whole / subdirectory)
        found.pop("examples_per_second", None), expected.pop("examples_per_second", None)
        assert found == expected
    assert_pieces_without_a_gap(pieces, expected_printed)


def assert_pieces_without_a_gap(pieces, whole):
    """Each piece starts where the previous one ended, or earlier to repeat lost steps."""
    end = 0
    for piece in filter(None, pieces):
        begin = whole.find(piece)
        assert 0 <= begin <= end, piece
        end = begin + len(piece)
    assert end == len(whole)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_only_its_steps(
    run, model_of_a_session, make_model, stream, crash, tmp_path, arrays_in
):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(whole, model_of_a_session(begins=True), every_steps=4)
    run(resumed, model_of_a_session(begins=True), crash(step=13), every_steps=4)
    (resumed / "checkpoints" / "step-00000012" / "state.npz").write_bytes(b"")
    notices = []
    # As in a new process: the optimizer has no variables yet.
    make_model(optimizer="adam", dropout=0.5, seed=9).fit(
        stream,
        epochs=2,
        verbose=0,
        callbacks=[
            keras.callbacks.ReduceLROnPlateau("loss"),
            keras.callbacks.EarlyStopping("loss"),
            StepLogger(None, every_steps=3),
            Checkpoint(resumed / "checkpoints", every_steps=4, keep=99, notice=notices.append),
        ],
    )
    damaged, goes_on = notices
    assert damaged.startswith(f"{resumed}/checkpoints/step-00000012/state.npz is damaged. ")
    assert goes_on == f"resumed after 8 steps, from {resumed}/checkpoints/step-00000008"
    found, expected = arrays_in(resumed / "checkpoints"), arrays_in(whole / "checkpoints")
    for key, array in expected["step-00000012"].items():
        np.testing.assert_array_equal(found["step-00000012"][key], array, err_msg=key)


# When it saves, and which checkpoints are kept


@pytest.fixture
def model(make_model, stream):
    """A model with a traced training function."""
    model = make_model(steps_per_execution=5)
    model.fit(stream, verbose=0)
    model.steps_trained = 0
    return model


SAVED = {
    None: [7, 14],
    1: list(range(1, 15)),
    3: [3, 6, 9, 12, 14],
    5: [5, 10, 14],
    7: [7, 14],
    14: [14],
    100: [14],
}


@pytest.mark.slow
def test_it_saves_at_the_requested_steps_and_the_end(model, stream, tmp_path, steps_in):
    class Journal(Disk):
        def rename(self, source, target):
            super().rename(source, target)
            written.append(int(target.name.removeprefix("step-")))

    for every_steps, expected in SAVED.items():
        directory, written = tmp_path / str(every_steps), []
        model.steps_trained = 0
        callback = Checkpoint(directory, every_steps=every_steps, keep=99, disk=Journal())
        model.fit(stream, epochs=2, verbose=0, callbacks=[callback])
        assert (written, steps_in(directory)) == (expected, expected), every_steps


class Scores(keras.callbacks.Callback):
    """Epochs with given validation losses."""

    def __init__(self, *losses):
        super().__init__()
        self._losses = losses

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self._losses[epoch]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"keep": 2}, [21, 28]),
        ({"keep": 1, "monitor": "val_loss"}, [14, 28]),
        ({"keep": 1, "monitor": "val_loss", "mode": "max"}, [7, 28]),
        # Saved because it is the best, although no checkpoint is due.
        ({"keep": 1, "monitor": "val_loss", "every_steps": 100}, [14, 28]),
        ({"keep": 1, "monitor": "val_loss", "every_steps": 3}, [14, 28]),
        ({"keep": 1, "monitor": "missing", "mode": "min", "every_steps": 3}, [28]),
    ],
)
def test_the_newest_and_the_best_survive_interruptions(
    arguments, kept, model, stream, crash, tmp_path, steps_in
):
    def fit(*others):
        callbacks = [Scores(0.5, 0.2, 0.3, 0.4), Checkpoint(tmp_path, **arguments), *others]
        model.fit(stream, epochs=4, verbose=0, callbacks=callbacks)

    with pytest.raises(RuntimeError, match="crash"):
        fit(crash(epoch=2, saved=True))
    fit()
    assert steps_in(tmp_path) == kept


def test_early_stopping_is_saved(model, stream, tmp_path, steps_in):
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1)
    )
    callback = Checkpoint(tmp_path, every_steps=100)
    model.fit(stream, epochs=5, verbose=0, callbacks=[stop, callback])
    assert steps_in(tmp_path) == [14]


def test_a_state_with_nan_is_never_written(model, stream, tmp_path, steps_in):
    class Spoil(StepCallback):
        def breaks_execution_at(self, step):
            return step == 9

        def on_train_batch_end(self, batch, logs=None):
            if self.model.steps_trained == 9:
                weight = self.model.trainable_weights[0]
                weight.assign(np.full(weight.shape, np.nan))

    notices = []
    callback = Checkpoint(tmp_path, every_steps=4, keep=99, notice=notices.append)
    model.fit(stream, epochs=2, verbose=0, callbacks=[Spoil(), callback])
    assert steps_in(tmp_path) == [4, 8]
    assert notices == [
        "no checkpoint is saved at step 12: a weight is not finite.",
        "no checkpoint is saved at step 14: a weight is not finite.",
    ]


# By time, from another training, and only for the same data


@pytest.mark.slow
def test_a_checkpoint_is_saved_after_the_given_minutes(make_model, stream, tmp_path, steps_in):
    seconds = iter(range(0, 10**6, 20))
    callback = Checkpoint(
        tmp_path, every_steps=99, every_minutes=1, keep=99, clock=lambda: next(seconds)
    )
    make_model().fit(stream, verbose=0, callbacks=[callback])
    # The clock is read at the start, at each step and again at each save.
    assert steps_in(tmp_path) == [3, 6, 7]


def test_it_gives_the_seconds_since_the_last_save(make_model, stream, tmp_path):
    now = [100.0]
    callback = Checkpoint(
        tmp_path, every_steps=4, notice=lambda line: None, disk=FullAt(_7=1), clock=lambda: now[0]
    )
    assert callback.seconds_since_save is None

    class OneSecondAStep(StepCallback):
        def breaks_execution_at(self, step):
            return True

        def on_train_batch_end(self, batch, logs=None):
            now[0] += 1

    with pytest.raises(CheckpointError):
        make_model().fit(stream, verbose=0, callbacks=[OneSecondAStep(), callback])
    assert (now[0], callback.seconds_since_save) == (107.0, 3.0)


@pytest.mark.slow
def test_training_starts_from_another_checkpoint_at_a_new_rate(make_model, stream, tmp_path):
    notices = []

    def fit(name, *, epochs, rate, start_from=None):
        model = make_model(optimizer=keras.optimizers.SGD(rate, momentum=0.9))
        checkpoint = Checkpoint(tmp_path / name, start_from=start_from, notice=notices.append)
        model.fit(stream, epochs=epochs, verbose=0, callbacks=[checkpoint])
        return model

    first = fit("first", epochs=2, rate=0.01)
    # In one process: the same model, optimizer and generators, but the epochs begin at 0 again.
    expected = make_model(optimizer=keras.optimizers.SGD(0.001, momentum=0.9))
    expected.set_weights(first.get_weights())
    expected.optimizer.build(expected.trainable_variables)
    for ours, theirs in zip(expected.optimizer.variables, first.optimizer.variables, strict=True):
        if ours.name != "learning_rate":
            ours.assign(theirs)
    expected.fit(stream, epochs=1, verbose=0)
    second = fit("second", epochs=1, rate=0.001, start_from=tmp_path / "first")
    assert second.steps_trained == 7
    for ours, theirs in zip(second.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert float(second.optimizer.learning_rate) == np.float32(0.001)
    again = fit("second", epochs=1, rate=0.001, start_from=tmp_path / "first")
    np.testing.assert_array_equal(again.get_weights()[0], second.get_weights()[0])
    assert notices == [
        "begins at epoch 0, with the weights and the optimizer's state from "
        f"{tmp_path}/first/step-00000014",
        f"resumed after 7 steps, from {tmp_path}/second/step-00000007",
        nothing_is_trained(epochs=1),
    ]


@pytest.mark.slow
def test_a_training_from_anothers_weights_begins_at_the_initial_epoch(make_model, stream, tmp_path):
    make_model().fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path / "first")])
    checkpoint = Checkpoint(
        tmp_path / "second", start_from=tmp_path / "first", notice=lambda line: None
    )
    history = make_model().fit(stream, initial_epoch=3, epochs=5, verbose=0, callbacks=[checkpoint])
    assert history.epoch == [3, 4]


@pytest.mark.slow
def test_a_killed_start_from_another_training_begins_there_again(
    make_model, stream, tmp_path, crash
):
    model = make_model()

    def fit(name, *others, epochs=1, **options):
        notices = []
        checkpoint = Checkpoint(tmp_path / name, notice=notices.append, **options)
        model.fit(stream, epochs=epochs, verbose=0, callbacks=[checkpoint, *others])
        return notices

    fit("first")
    model.steps_trained = 0
    from_first = {"start_from": tmp_path / "first"}
    with pytest.raises(RuntimeError, match="crash"):
        fit("second", crash(step=3), **from_first)
    fit("first", epochs=2)
    model.steps_trained = 0
    assert fit("second", **from_first)[0].endswith("first/step-00000007")


def test_starting_from_no_undamaged_checkpoint_is_an_error(make_model, stream, tmp_path):
    model = make_model()
    checkpoint = Checkpoint(tmp_path / "second", start_from=tmp_path / "first")
    with pytest.raises(UsageError, match="there is no checkpoint"):
        model.fit(stream, verbose=0, callbacks=[checkpoint])
    (tmp_path / "first" / "step-00000007").mkdir(parents=True)
    checkpoint = Checkpoint(
        tmp_path / "second", start_from=tmp_path / "first", notice=lambda line: None
    )
    with pytest.raises(DamagedError, match="all checkpoints are damaged"):
        model.fit(stream, verbose=0, callbacks=[checkpoint])
    assert model.steps_trained == 0


@pytest.mark.slow
def test_a_resume_removes_what_a_kill_during_a_save_left(make_model, stream, tmp_path):
    model = make_model()
    model.fit(stream, epochs=3, verbose=0, callbacks=[Checkpoint(tmp_path, keep=9)])
    (tmp_path / ".unfinished-step-00000007-01234567").mkdir()
    checkpoint = Checkpoint(tmp_path, keep=1, notice=lambda line: None)
    model.fit(stream, epochs=3, verbose=0, callbacks=[checkpoint])
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000021"]


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_removed_does_not_end_training(make_model, stream, tmp_path):
    class ReadOnly(Disk):
        def remove(self, path):
            raise OSError(errno.EROFS, "Read-only file system")

    checkpoint = Checkpoint(tmp_path, keep=1, disk=ReadOnly(), notice=lambda line: None)
    make_model().fit(stream, epochs=3, verbose=0, callbacks=[checkpoint])
    assert (tmp_path / "step-00000021").is_dir()


@pytest.mark.slow
def test_a_schedule_begins_anew_in_a_training_from_anothers_weights(make_model, stream, tmp_path):
    def fit(name, start_from=None):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.5, 0.0])
        model = make_model(optimizer=keras.optimizers.SGD(schedule))
        checkpoint = Checkpoint(tmp_path / name, start_from=start_from, notice=lambda line: None)
        model.fit(stream, verbose=0, callbacks=[checkpoint])
        return model

    first = fit("first")
    second = fit("second", start_from=tmp_path / "first")
    assert int(second.optimizer.iterations) == 7
    assert not np.array_equal(second.get_weights()[0], first.get_weights()[0])


@pytest.mark.slow
def test_a_training_from_other_weights_may_have_other_data(make_model, stream, tmp_path):
    make_model().fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path / "first")])
    second = make_model(metrics=[])
    checkpoint = Checkpoint(
        tmp_path / "second", start_from=tmp_path / "first", notice=lambda line: None
    )
    stop = keras.callbacks.EarlyStopping("loss", patience=9)
    x, y = np.zeros((4, 28, 28), np.float32), np.zeros((4, 10), np.float32)
    history = second.fit(x, y, verbose=0, callbacks=[checkpoint, stop])
    assert (second.steps_trained, history.epoch) == (1, [0])


@pytest.mark.slow
@pytest.mark.parametrize("differs", ["images", "labels", "batch_size", "shuffle", "seed"])
def test_resuming_with_different_data_is_refused(differs, model, examples, tmp_path):
    images, labels = (array.copy() for array in examples)
    begun = {"batch_size": 10, "shuffle": True, "seed": 1}
    model.fit(batches(images, labels, **begun), verbose=0, callbacks=[Checkpoint(tmp_path)])
    before = model.get_weights()
    if differs == "images":
        images[0, 0, 0] += 1
    if differs == "labels":
        labels[0] = (labels[0] + 1) % 10
    other = {"batch_size": 5, "shuffle": False, "seed": 2}
    arguments = {name: other[name] if name == differs else begun[name] for name in begun}
    stream = batches(images, labels, **arguments)
    with pytest.raises(StateMismatchError) as error:
        model.fit(stream, epochs=2, verbose=0, callbacks=[Checkpoint(tmp_path)])
    name = differs if differs in begun else "sha256"
    assert str(error.value).startswith(
        "the data differ from those of the checkpoint. "
        f"Received: {name} {stream.identity[name]}. Expected: "
    )
    for array, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.slow
def test_of_two_checkpoints_the_newer_one_restores(
    make_model, stream, crash, tmp_path, steps_in, weights_of
):
    def fit(name, *others):
        model = make_model(optimizer="adam")
        often = Checkpoint(tmp_path / name / "often", every_steps=2, keep=99)
        seldom = Checkpoint(tmp_path / name / "seldom", every_steps=3, keep=99)
        model.fit(stream, epochs=2, verbose=0, callbacks=[seldom, often, *others])
        return weights_of(model)

    whole = fit("whole")
    for step in (5, 7, 10):
        with pytest.raises(RuntimeError, match="crash"):
            fit("parts", crash(step=step))
    np.testing.assert_array_equal(fit("parts"), whole)
    for kind in ("often", "seldom"):
        assert steps_in(tmp_path / "parts" / kind) == steps_in(tmp_path / "whole" / kind)


# A disk that fails


class FullAt(Disk):
    """Full for a given number of writes of the checkpoints of given steps."""

    def __init__(self, **times):
        self._times = {int(step.lstrip("_")): count for step, count in times.items()}

    def write(self, path, data):
        for step, count in self._times.items():
            if f"step-{step:08d}" in str(path) and count:
                self._times[step] -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
        super().write(path, data)


def test_a_failed_write_is_reported_and_saving_continues(model, stream, tmp_path, steps_in):
    notices = []
    callback = Checkpoint(
        tmp_path, every_steps=2, keep=99, notice=notices.append, disk=FullAt(_4=1, _6=1)
    )
    model.fit(stream, verbose=0, callbacks=[callback])
    assert steps_in(tmp_path) == [2, 7]
    failed = f"a checkpoint could not be written (No space left on device: {tmp_path})"
    assert notices == [f"{failed}; trying again later."] * 2


def test_fit_fails_if_the_last_write_fails(model, stream, tmp_path, steps_in):
    notices = []
    callback = Checkpoint(tmp_path, every_steps=4, notice=notices.append, disk=FullAt(_7=1))
    with pytest.raises(CheckpointError) as error:
        model.fit(stream, verbose=0, callbacks=[callback])
    assert str(error.value) == (
        f"the last checkpoint could not be written: No space left on device: {tmp_path}"
    )
    assert steps_in(tmp_path) == [4]
    assert len(notices) == 1
    model.fit(stream, verbose=0, callbacks=[callback])
    assert steps_in(tmp_path)[-1] == 14


def test_saving_at_once_retries_a_failed_write(model, stream, tmp_path, steps_in):
    class Save(StepCallback):
        priority = 2

        def on_epoch_end(self, epoch, logs=None):
            callback.save_now(callback.position)

    callback = Checkpoint(tmp_path, notice=lambda line: None, disk=FullAt(_7=1, _14=2))
    with pytest.raises(CheckpointError):
        model.fit(stream, epochs=2, verbose=0, callbacks=[callback, Save()])
    assert steps_in(tmp_path) == [7]


def test_training_continues_during_a_write_and_waits_before_the_next(model, stream, tmp_path):
    journal, reached = [], threading.Event()

    class Slow(Disk):
        def make_directory(self, path):
            if "step" in path.name:
                journal.append(f"{path.name[12:25]} begins")
            super().make_directory(path)

        def rename(self, source, target):
            assert reached.wait(60)
            super().rename(source, target)
            journal.append(f"{target.name} is written")

    class Steps(StepCallback):
        def breaks_execution_at(self, step):
            return True

        def on_train_batch_end(self, batch, logs=None):
            journal.append(f"step {batch + 1} is trained")
            if batch + 1 == 4:
                reached.set()

    callback = Checkpoint(tmp_path, every_steps=3, keep=9, disk=Slow())
    model.fit(stream, verbose=0, callbacks=[Steps(), callback])
    begins = [line for line in journal if "begins" in line]
    assert len(begins) == 3
    assert journal.index("step 4 is trained") < journal.index("step-00000003 is written")
    for step in (3, 6):
        assert journal.index(f"step-{step:08d} is written") < journal.index(begins[step // 3])


def test_other_callbacks_are_flushed_before_the_checkpoint(model, stream, tmp_path):
    journal = []

    class Log(StepCallback):
        def flush(self):
            journal.append("flush")

    class Journal(Disk):
        def write(self, path, data):
            journal.append(path.name)
            super().write(path, data)

    callback = Checkpoint(tmp_path, disk=Journal())
    model.fit(stream, verbose=0, callbacks=[callback, Log()])
    assert journal == ["flush", "state.npz", "state.json", "manifest.json"]


# Several fits


def test_a_second_fit_continues_the_count_without_resuming(model, stream, tmp_path, steps_in):
    callback = Checkpoint(tmp_path)
    first = model.fit(stream, epochs=1, verbose=0, callbacks=[callback])
    second = model.fit(stream, epochs=2, verbose=0, callbacks=[callback])
    assert steps_in(tmp_path) == [7, 14, 21]
    assert [len(history.history["loss"]) for history in (first, second)] == [1, 2]


@pytest.mark.slow
def test_a_finished_run_trains_only_if_epochs_are_added(
    model, make_model, stream, tmp_path, steps_in, weights_of
):
    history = model.fit(stream, epochs=2, verbose=0, callbacks=[Checkpoint(tmp_path)]).history
    again = make_model(seed=9)
    callback = Checkpoint(tmp_path)
    finished = again.fit(stream, epochs=2, verbose=0, callbacks=[callback])
    assert finished.history == history
    assert again.steps_trained == 14
    np.testing.assert_array_equal(weights_of(again), weights_of(model))

    # The next fit with the same callback is independent of the first.
    twin = model.fit(stream, epochs=1, verbose=0).history
    assert again.fit(stream, epochs=1, verbose=0, callbacks=[callback]).history == twin
    assert steps_in(tmp_path) == [7, 14, 21]

    longer = make_model(seed=8)
    extended = longer.fit(stream, epochs=3, verbose=0, callbacks=[Checkpoint(tmp_path)]).history
    assert len(extended["loss"]) == 3 - 1 + len(twin["loss"])


@pytest.mark.slow
def test_a_fit_that_fails_at_its_start_can_resume(model, make_model, stream, tmp_path):
    first = model.fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path)])
    callback = Checkpoint(tmp_path)
    other = keras.callbacks.EarlyStopping("loss")
    fresh = make_model(seed=9)
    with pytest.raises(StateMismatchError, match=r"Received: History\. Expected: EarlySt"):
        fresh.fit(stream, epochs=2, verbose=0, callbacks=[callback, other])
    assert fresh.steps_trained == 0
    history = fresh.fit(stream, epochs=2, verbose=0, callbacks=[callback])
    assert (fresh.steps_trained, history.epoch) == (14, [0, 1])
    assert history.history["loss"][0] == first.history["loss"][0]


def test_without_resume_training_restarts_and_keeps_its_own_newest(
    model, stream, tmp_path, steps_in, capsys
):
    model.fit(stream, epochs=3, verbose=0, callbacks=[Checkpoint(tmp_path, keep=1)])
    model.steps_trained = 0
    callback = Checkpoint(tmp_path, every_steps=2, keep=2, resume=False)
    history = model.fit(stream, verbose=0, callbacks=[callback])
    assert history.epoch == [0]
    assert capsys.readouterr().err == kept_aside(tmp_path)
    assert steps_in(tmp_path / "earlier-1") == [21]
    (tmp_path / "earlier-1").rename(tmp_path.parent / "moved")
    assert steps_in(tmp_path) == [6, 7]


class SmallTraining:
    """A training with a step for each two rows, of a plain model or a `TapeModel`."""

    def __init__(self, kind, directory, **options):
        self.network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        self.model = self.network if kind == "plain" else TapeModel(self.network)
        self.model.compile("sgd", "mse")
        # A plain model cannot resume in any case.
        options = {"resume": kind == "plain", "monitor": "loss", **options}
        self.checkpoint = Checkpoint(directory, every_steps=5, keep=9, **options)

    def train(self, *, steps):
        x = np.random.default_rng(0).normal(size=(2 * steps, 3))
        data = {"x": x, "y": x.sum(axis=1, keepdims=True), "batch_size": 2}
        self.model.fit(**data, verbose=0, callbacks=[self.checkpoint])
        return self


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "tape"])
def test_a_training_anew_never_loads_the_earlier_checkpoints(kind, tmp_path, capsys):
    SmallTraining(kind, tmp_path).train(steps=20)
    assert capsys.readouterr().err == ""
    anew = SmallTraining(kind, tmp_path).train(steps=10)
    remedy = " A TapeModel would." if kind == "plain" else ""
    assert capsys.readouterr().err == kept_aside(tmp_path, remedy)
    for load in (anew.checkpoint.load, anew.checkpoint.load_best):
        loaded = SmallTraining(kind, tmp_path).network
        assert load(loaded) == 10
        np.testing.assert_array_equal(loaded.get_weights()[0], anew.network.get_weights()[0])
    assert Checkpoint(tmp_path / "earlier-1").load(loaded) == 20


@pytest.mark.slow
def test_earlier_checkpoints_that_cannot_be_moved_end_the_training(tmp_path):
    class ReadOnly(Disk):
        def make_directory(self, path):
            raise OSError(errno.EROFS, "Read-only file system")

    SmallTraining("plain", tmp_path).train(steps=5)
    anew = SmallTraining("plain", tmp_path, disk=ReadOnly())
    before = anew.network.get_weights()[0]
    with pytest.raises(CheckpointError) as error:
        anew.train(steps=5)
    assert str(error.value) == (
        f"the checkpoints of an earlier training cannot be moved: Read-only file system: {tmp_path}"
    )
    np.testing.assert_array_equal(anew.network.get_weights()[0], before)


def test_a_fit_without_the_callback_saves_nothing(model, stream, tmp_path, steps_in):
    model.fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path)])
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: shutdown._handle(2, None)
    )
    shutdown = GracefulShutdown()
    with pytest.raises(SystemExit):
        model.fit(stream, verbose=0, callbacks=[stop, shutdown])
    assert steps_in(tmp_path) == [7]


@pytest.mark.slow
def test_a_vector_metric_does_not_disturb_logs_or_resume(
    make_model, stream, crash, tmp_path, points_of
):
    def fit(directory, *others):
        model = make_model(metrics=[keras.metrics.F1Score(name="f1")])
        callbacks = [StepLogger(directory), Checkpoint(directory / "checkpoints"), *others]
        return model.fit(stream, epochs=2, verbose=0, callbacks=callbacks).history

    expected = fit(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path / "resumed", crash(step=8))
    history = fit(tmp_path / "resumed")
    assert np.shape(history["f1"]) == (2, 10)
    np.testing.assert_array_equal(history["f1"], expected["f1"])
    assert history["loss"] == expected["loss"]
    assert set(points_of(tmp_path / "resumed" / "train")) >= {"loss", "epoch_loss"}


# A plain keras.Model


@pytest.mark.slow
def test_a_plain_keras_model_is_saved_but_not_resumed(
    make_plain, stream, tmp_path, arrays_in, weights_of, capsys
):
    model = make_plain(optimizer="adam")
    model.fit(stream, epochs=2, verbose=0, callbacks=[Checkpoint(tmp_path, every_steps=3)])
    assert capsys.readouterr().err == ""
    saved = arrays_in(tmp_path)
    assert list(saved) == ["step-00000009", "step-00000012", "step-00000014"]
    final = saved["step-00000014"]
    found = [final[key] for key in sorted(final)]
    variables = [*model.metrics_variables, *model.variables, *model.optimizer.variables]
    for array, variable in zip(found, variables, strict=True):
        np.testing.assert_array_equal(array, keras.ops.convert_to_numpy(variable))

    model.fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path, every_steps=3)])
    assert capsys.readouterr().err == kept_aside(tmp_path, " A TapeModel would.")


@pytest.mark.slow
def test_a_plain_model_inherits_nothing_from_a_tape_model(model, make_plain, stream, tmp_path):
    model.fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path)])
    callback = Checkpoint(tmp_path)
    model.fit(stream, epochs=1, verbose=0, callbacks=[callback])
    make_plain().fit(stream, epochs=2, verbose=0, callbacks=[callback])
    description = json.loads((tmp_path / "step-00000021" / "state.json").read_bytes())
    assert description["callbacks"] == []
    assert description["position"] == {"step": 21, "epoch": 2, "step_in_epoch": 0}


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_steps": 0}, "the interval in steps is wrong. Received: 0."),
        ({"every_steps": 2.5}, "the interval in steps is wrong. Received: 2.5."),
        ({"keep": 0}, "the number of checkpoints is wrong. Received: keep=0."),
        ({"keep": "3"}, "the number of checkpoints is wrong. Received: keep='3'."),
        ({"keep_best": 0}, "the number of checkpoints is wrong. Received: keep_best=0."),
        ({"keep_every_steps": 0}, "the interval in steps is wrong. Received: 0."),
        ({"every_minutes": 0}, "the interval in minutes is wrong. Received: every_minutes=0."),
        ({"mode": "best"}, "the mode is unknown. Received: 'best'. "),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, tmp_path):
    with pytest.raises(UsageError) as error:
        Checkpoint(tmp_path, **arguments)
    assert str(error.value).startswith(message)


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(checkpoint).failed == 0


def test_a_tape_model_with_other_shapes_is_refused_and_unchanged(
    model, stream, tmp_path, weights_of
):
    model.fit(stream, verbose=0, callbacks=[Checkpoint(tmp_path)])
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    other = TapeModel(keras.Sequential([keras.Input((28, 28)), *layers]))
    other.compile(optimizer="sgd", loss="mse", metrics=["accuracy"])
    before = weights_of(other)
    with pytest.raises(StateMismatchError, match=r"dense\S*/kernel \(784, 16\)"):
        other.fit(stream, epochs=2, verbose=0, callbacks=[Checkpoint(tmp_path)])
    np.testing.assert_array_equal(weights_of(other), before)


def test_a_sealed_checkpoint_with_a_wrong_kernel_is_skipped(make_model, stream, tmp_path):
    directory, notices = tmp_path / "checkpoints", []
    make_model().fit(stream, epochs=2, verbose=0, callbacks=[Checkpoint(directory, keep=9)])
    newest, before = (directory / f"step-{n * len(stream):08d}" for n in (2, 1))
    stored = storage.read_directory(newest)
    state = TrainingState.from_files(stored.files)
    arrays = {**state.arrays, "model/0000": state.arrays["model/0000"].astype(np.int64)}
    files = dataclasses.replace(state, arrays=arrays).to_files()
    storage.write_directory(newest, files, stored.description)
    checkpoint = Checkpoint(directory, keep=9, notice=notices.append)
    make_model().fit(stream, epochs=2, verbose=0, callbacks=[checkpoint])
    skipped, resumed = notices
    assert skipped.startswith(f"{newest}: the checkpoint does not hold a training state. ")
    assert skipped.endswith(" The previous checkpoint is used.")
    assert resumed == f"resumed after {len(stream)} steps, from {before}"
