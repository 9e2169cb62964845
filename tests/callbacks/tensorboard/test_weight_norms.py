import contextlib
import doctest

import keras
import numpy as np
import pytest

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.callbacks.tensorboard import weight_norms
from mnist_keras.callbacks.tensorboard.weight_norms import WeightNorms
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow

LAYERS = {"hidden": slice(0, 2), "scores": slice(2, 4)}


class Weights(keras.callbacks.Callback):
    """Records the weights before each step."""

    def __init__(self):
        super().__init__()
        self.before = []

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(self.model.get_weights())


@pytest.fixture
def make():
    """A TapeModel of two layers with weights, around a plain keras.Model."""

    def make(optimizer="adam", *, steps_per_execution=1, wrap=TapeModel):
        keras.utils.set_random_seed(3)
        layers = [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="scores"),
        ]
        model = wrap(keras.Sequential(layers, name="network"))
        model.compile(
            optimizer=keras.optimizers.get(optimizer),
            loss=SumSquaredError(),
            steps_per_execution=steps_per_execution,
        )
        return model

    return make


def norm(arrays):
    return np.linalg.norm(np.concatenate([array.ravel() for array in arrays]))


def by_hand(weights, steps):
    """The expected values at these steps."""
    expected = {}
    for name, layer in LAYERS.items():
        before = {step: weights.before[step][layer] for step in steps}
        after = {step: weights.before[step + 1][layer] for step in steps}
        norms = {step: norm(before[step]) for step in steps}
        updates = {
            step: norm([b - a for a, b in zip(before[step], after[step], strict=True)])
            for step in steps
        }
        expected[f"weight_norm/network/{name}"] = {
            step: pytest.approx(norms[step], rel=1e-5) for step in steps
        }
        expected[f"update_ratio/network/{name}"] = {
            step: pytest.approx(updates[step] / norms[step], rel=1e-4) for step in steps
        }
    return expected


@pytest.mark.parametrize("steps_per_execution", [1, 5, 100])
def test_it_writes_layer_norms_and_first_update_ratios(
    steps_per_execution, make, stream, tmp_path, points_of
):
    weights = Weights()
    make().fit(stream, epochs=2, verbose=0, callbacks=[weights])
    model = make(steps_per_execution=steps_per_execution)
    model.fit(stream, epochs=2, verbose=0, callbacks=[WeightNorms(tmp_path)])
    assert points_of(tmp_path) == by_hand(weights, [0, 7])


def test_it_writes_at_the_interval_of_epochs(make, stream, tmp_path, points_of):
    weights = Weights()
    make().fit(stream, epochs=6, verbose=0, callbacks=[weights])
    norms = WeightNorms(tmp_path, every_epochs=3)
    make(steps_per_execution=100).fit(stream, epochs=6, verbose=0, callbacks=[norms])
    assert points_of(tmp_path) == by_hand(weights, [0, 21])


def test_a_plain_keras_model_has_the_same_values(make, stream, tmp_path, points_of):
    weights, model = Weights(), make(wrap=lambda network: network)
    model.fit(stream, epochs=2, verbose=0, callbacks=[weights, WeightNorms(tmp_path)])
    assert points_of(tmp_path) == by_hand(weights, [0, 7])


def test_with_gradient_accumulation_the_first_real_update_counts(make, stream, tmp_path, points_of):
    def optimizer():
        return keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)

    weights = Weights()
    make(optimizer()).fit(stream, epochs=3, verbose=0, callbacks=[weights])
    model = make(optimizer(), steps_per_execution=100)
    model.fit(stream, epochs=3, verbose=0, callbacks=[WeightNorms(tmp_path)])
    assert norm([a - b for a, b in zip(weights.before[2], weights.before[3], strict=True)]) > 0
    assert points_of(tmp_path) == by_hand(weights, [2, 8, 14])


def test_a_resumed_run_has_the_same_values(make, stream, crash, tmp_path, points_of):
    def session(name, *others):
        checkpoint = Checkpoint(tmp_path / name / "checkpoints", every_steps=1)
        callbacks = [WeightNorms(tmp_path / name), checkpoint, *others]
        with contextlib.suppress(RuntimeError):
            make(steps_per_execution=100).fit(stream, epochs=2, verbose=0, callbacks=callbacks)

    session("whole")
    for step in (1, 2, 5, 7, 8, 10):
        session("resumed", crash(step=step, saved=True))
    session("resumed")
    points = points_of(tmp_path / "resumed")
    assert {len(values) for values in points.values()} == {2}
    assert points == points_of(tmp_path / "whole")


def test_zero_weights_have_a_norm_but_no_ratio(tmp_path, points_of):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="zero")], name="all")
    model.set_weights([np.zeros((2, 1)), np.zeros(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0, callbacks=[WeightNorms(tmp_path)])
    assert points_of(tmp_path) == {"weight_norm/all/zero": {0: 0.0}}


def test_a_plain_model_with_several_steps_per_execution_is_refused(make_plain, stream, tmp_path):
    model = make_plain(steps_per_execution=3)
    with pytest.raises(UsageError, match="does not report each step"):
        model.fit(stream, verbose=0, callbacks=[WeightNorms(tmp_path)])


def test_the_example_is_true():
    assert doctest.testmod(weight_norms).failed == 0
