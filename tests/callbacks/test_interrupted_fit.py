"""A notebook's cell that trains, interrupted and run again with the same objects."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.callbacks.sinks import CsvSink
from tests.callbacks.sinks import stores

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


def shuffled():
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(10, seed=3)


DATA = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 4},
    "tf.data": lambda: {"x": shuffled().batch(4)},
    "endless tf.data": lambda: {"x": shuffled().repeat().batch(4), "steps_per_epoch": 5},
}


class Interrupt(keras.callbacks.Callback):
    """Raises KeyboardInterrupt once, after a number of batches."""

    def __init__(self, after):
        super().__init__()
        self.countdown = types.SimpleNamespace(left=after)  # No checkpoint sets it back.

    def on_train_batch_end(self, batch, logs=None):
        self.countdown.left -= 1
        if self.countdown.left == 0:
            raise KeyboardInterrupt


class Cell:
    """What a notebook has made before the cell that trains."""

    def __init__(self, directory, *, data, interrupt_after, **options):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
        self.model = TapeModel(keras.Sequential([keras.Input((3,)), *layers]))
        self.model.compile(optimizer="adam", loss="mse")
        self.said = []
        self.csv = directory / "steps.csv"
        self.data = DATA[data]()
        self.callbacks = [
            StepLogger(None, every_steps=1, echo=False, sinks=[CsvSink(self.csv)]),
            Checkpoint(
                directory / "checkpoints", every_steps=4, notice=self.said.append, **options
            ),
            keras.callbacks.ReduceLROnPlateau("loss", patience=0, factor=0.5),
            Interrupt(interrupt_after),
        ]

    def run(self):
        history = self.model.fit(**self.data, epochs=3, verbose=0, callbacks=self.callbacks)
        points = stores.csv_points(self.csv)
        del points["examples_per_second"]
        return history.history, points, [weight.tolist() for weight in self.model.get_weights()]


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_the_second_run_of_an_interrupted_cell_resumes_exactly(data, tmp_path):
    expected = Cell(tmp_path / "whole", data=data, interrupt_after=0).run()
    cell = Cell(tmp_path / "interrupted", data=data, interrupt_after=11)
    with pytest.raises(KeyboardInterrupt):
        cell.run()
    assert cell.run() == expected
    (line,) = cell.said
    assert line.startswith("resumed after 8 steps")


@pytest.mark.slow
def test_an_interruption_before_the_first_checkpoint_is_reported(tmp_path):
    cell = Cell(tmp_path, data="arrays", interrupt_after=3)
    with pytest.raises(KeyboardInterrupt):
        cell.run()
    cell.run()
    (line,) = cell.said
    assert line.startswith("resume is not exact: the fit before was interrupted before its first")
    assert not cell.callbacks[1].is_exact


@pytest.mark.slow
def test_an_interrupted_start_from_another_training_begins_again(tmp_path):
    Cell(tmp_path / "first", data="arrays", interrupt_after=0).run()
    options = {"data": "arrays", "start_from": tmp_path / "first" / "checkpoints"}
    expected = Cell(tmp_path / "whole", interrupt_after=0, **options).run()
    cell = Cell(tmp_path / "interrupted", interrupt_after=3, **options)
    with pytest.raises(KeyboardInterrupt):
        cell.run()
    _, points, _ = cell.run()
    assert points["loss"].keys() == expected[1]["loss"].keys()
    assert not any(line.startswith("resume is not exact") for line in cell.said)


@pytest.mark.slow
def test_a_new_model_after_an_early_interruption_begins_anew(tmp_path):
    cell, another = (Cell(tmp_path, data="arrays", interrupt_after=3) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        cell.run()
    cell.model = another.model
    cell.run()
    assert cell.said == []


@pytest.mark.slow
def test_a_cell_that_ended_trains_more_epochs_when_run_again(tmp_path):
    cell = Cell(tmp_path, data="arrays", interrupt_after=0)
    cell.run()
    _, points, _ = cell.run()
    assert [*points["loss"]] == [*range(36)]
    assert cell.said == []


class Fits:
    """A program that calls fit several times."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        self.said = []
        self.model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
        self.model.compile(optimizer="adam", loss="mse")

    def fit(self, *callbacks):
        self.model.fit(X, Y, batch_size=8, verbose=0, callbacks=callbacks)

    def fit_in(self, directory):
        self.fit(Checkpoint(directory, notice=self.said.append))

    @property
    def weights(self):
        return [weight.tolist() for weight in self.model.get_weights()]


@pytest.mark.slow
def test_a_program_of_several_fits_says_that_it_trains_more(tmp_path):
    for _ in range(2):
        program = Fits()
        checkpoint = Checkpoint(tmp_path, notice=program.said.append)
        program.fit(checkpoint)
        program.fit(checkpoint)
    assert (
        "resume is not exact: the newest checkpoint is of a fit that began after 3 steps, and this "
        "fit begins after 0; call fit once, or give each fit of the program its own directory."
    ) in program.said
    assert not checkpoint.is_exact


@pytest.mark.slow
def test_fits_with_their_own_directories_resume_exactly(tmp_path):
    whole = Fits()
    whole.fit()
    whole.fit()
    first = Fits()
    first.fit_in(tmp_path / "a")
    first.fit_in(tmp_path / "b")
    again = Fits()
    again.fit_in(tmp_path / "a")
    again.fit_in(tmp_path / "b")
    assert again.weights == whole.weights
    assert not any("not exact" in line for line in again.said)


@pytest.mark.slow
def test_two_models_with_the_same_callbacks_are_kept_apart(tmp_path, points_of):
    one, other = Fits(), Fits()
    callbacks = (
        StepLogger(tmp_path, every_steps=1, echo=False, sinks=[CsvSink(tmp_path / "steps.csv")]),
        Checkpoint(tmp_path / "checkpoints", notice=one.said.append),
    )
    for program in (one, other, one):
        program.fit(*callbacks)
    assert sorted(points_of(tmp_path / "train")["loss"]) == [3, 4, 5]
    assert sorted(stores.csv_points(tmp_path / "steps.csv")["loss"]) == [3, 4, 5]
    for number in (1, 2):
        assert sorted(points_of(tmp_path / f"earlier-{number}" / "train")["loss"]) == [0, 1, 2]
        kept = tmp_path / "checkpoints" / f"earlier-{number}"
        assert [path.name for path in kept.glob("step-*")] == ["step-00000003"]
    assert [p.name for p in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000006"]


@pytest.mark.slow
def test_a_hook_of_the_epoch_changes_the_rate_once(tmp_path):
    def fit(*callbacks):
        program = Fits()
        halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        options = {"batch_size": 4, "epochs": 2, "verbose": 0}
        program.model.fit(X, Y, callbacks=[halved, *callbacks], **options)
        return program.weights, float(program.model.optimizer.learning_rate)

    expected = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path, every_steps=4), Interrupt(5))
    assert fit(Checkpoint(tmp_path, every_steps=4), Interrupt(0)) == expected
