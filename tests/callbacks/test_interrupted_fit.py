"""A notebook's cell that trains, interrupted and run again with the same objects."""

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
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
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
