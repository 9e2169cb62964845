import doctest
import math
import re

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import (
    Checkpoint,
    DivergedError,
    DivergenceGuard,
    StepLogger,
    divergence_guard,
)
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.data import batches


def breaking_at(step):
    """A learning rate that makes the weights non-finite in the update of one step."""
    return keras.optimizers.schedules.PiecewiseConstantDecay([step - 1], [0.001, 1e38])


@pytest.fixture(scope="module")
def first():
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [1, 7, 100])
def test_training_ends_at_the_diverging_step_and_keeps_good_checkpoints(
    steps_per_execution, first, make_model, digits, tmp_path, capsys, points_of
):
    model = make_model(
        optimizer=keras.optimizers.SGD(breaking_at(13)), steps_per_execution=steps_per_execution
    )
    with pytest.raises(DivergedError) as caught:
        model.fit(
            batches(*digits, batch_size=50),
            epochs=2,
            verbose=0,
            callbacks=[
                StepLogger(tmp_path, every_steps=7),
                DivergenceGuard(),
                Checkpoint(tmp_path / "checkpoints", every_steps=4),
            ],
        )
    points = points_of(tmp_path / "train")
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    outcome = str(caught.value), capsys.readouterr().out, points["loss"], left
    assert outcome == first.setdefault("outcome", outcome)
    assert caught.value.step == 14
    message, printed, losses, left = outcome
    assert message.startswith("the loss is not finite at step 14 (epoch 0, step 14). Received: ")
    assert re.search(r", gradient norm \S+; [0-9.]+ at the step before\. Expected: ", message)
    assert [line.split(" loss")[0] for line in printed.splitlines()] == ["0", "0 0", "0 7", "0 14"]
    assert [step for step, loss in losses.items() if math.isfinite(loss)] == [0, 7]
    assert left == ["step-00000004", "step-00000008", "step-00000012"]


def test_a_plain_keras_model_is_guarded_too():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(breaking_at(3)), loss="mse")
    x, y = np.ones((20, 3)), np.ones((20, 1))
    # The mean of an epoch's first steps is not the loss of one.
    message = r"at step 4 \(epoch 0, step 4\).*; [0-9.]+ in the logs of the step before\. Expected"
    with pytest.raises(DivergedError, match=message):
        model.fit(x, y, batch_size=2, verbose=0, callbacks=[DivergenceGuard()])


@pytest.mark.slow
@pytest.mark.parametrize(("every_steps", "found_after"), [(None, 9), (4, 7), (1, 5)])
@pytest.mark.parametrize(
    "kind", [keras.Sequential, lambda layers: TapeModel(keras.Sequential(layers))]
)
def test_a_lost_weight_ends_training_before_the_next_checkpoint(
    kind, every_steps, found_after, tmp_path, steps_in
):
    layer = keras.layers.BatchNormalization(name="normalization")
    model = kind([keras.Input((3,)), layer, keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")

    class Spoil(StepCallback):
        """The loss of a training step does not depend on the moving statistics."""

        def breaks_execution_at(self, step):
            return step == 6

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if self.step == 6:
                layer.moving_mean.assign([0.0, np.inf, 0.0])

    callbacks = [Spoil(), DivergenceGuard(), Checkpoint(tmp_path, every_steps=every_steps, keep=99)]
    x, y = np.ones((20, 3)), np.ones((20, 1))
    with pytest.raises(DivergedError) as error, callbacks[-1]:
        model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=callbacks)
    assert re.sub(r"\w+/normalization", "normalization", str(error.value)) == (
        f"a weight is not finite after step {found_after}. Received: normalization/moving_mean. "
        "Expected: finite weights and optimizer variables."
    )
    assert error.value.step == found_after
    expected = {None: [], 4: [4], 1: [1, 2, 3, 4, 5]}[every_steps]
    assert (steps_in(tmp_path) if tmp_path.exists() else []) == expected


@pytest.mark.slow
def test_without_the_guard_training_continues(make_model, digits):
    model = make_model(optimizer=keras.optimizers.SGD(breaking_at(3)), steps_per_execution=7)
    history = model.fit(batches(*digits, batch_size=100), verbose=0)
    assert model.steps_trained == 10
    assert not math.isfinite(history.history["loss"][0])


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(divergence_guard).failed == 0
