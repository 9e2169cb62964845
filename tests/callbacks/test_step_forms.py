"""Each form of a train_step is logged with the numbers of its steps, and changes by nothing."""

import functools
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import DivergedError, DivergenceGuard, StepLogger
from tests.callbacks.step_forms import (
    BATCH,
    FORMS,
    a_loss_for_each_example,
    batches_of,
    data,
    one_loss,
)

EPOCHS = 2
STEPS = 5  # in an epoch
MODES = {
    "TapeModel": (TapeModel, {"steps_per_execution": 1}),
    "TapeModel, 4 steps": (TapeModel, {"steps_per_execution": 4}),
    "TapeModel, eager": (TapeModel, {"steps_per_execution": 1, "run_eagerly": True}),
    "TapeModel, XLA": (TapeModel, {"steps_per_execution": 1, "jit_compile": True}),
    "keras.Model": (keras.Model, {}),
    "keras.Model, eager": (keras.Model, {"run_eagerly": True}),
}
if len(tf.config.list_physical_devices()) > len(tf.config.list_physical_devices("CPU")):
    # On the CPU alone this is what "keras.Model" does.
    MODES["keras.Model, no XLA"] = (keras.Model, {"jit_compile": False})
# The forms with one step without XLA too; every form has one step with XLA, and 4 steps without.
ONE_STEP = ("default step of keras", "a step in a graph of its own", "a gan")


def fit(name, base, arguments, *, callbacks=(), y=None):
    keras.utils.set_random_seed(1)
    x, targets = data()
    model = FORMS[name].make(base, **arguments)
    targets = targets if y is None else y
    history = model.fit(
        x,
        targets,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return history.history


@functools.cache
def history_of_keras(name, **arguments):
    return fit(name, keras.Model, arguments)


FAST = ("TapeModel, 4 steps", "keras.Model")
forms_in_modes = pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=() if mode in FAST else pytest.mark.slow)
        for name in FORMS
        for mode in MODES
        if mode != "TapeModel" or name in ONE_STEP
    ],
)


@pytest.mark.slow
@forms_in_modes
def test_each_step_is_logged_with_its_own_numbers(name, mode, tmp_path, points_of, capsys):
    form, (base, arguments) = FORMS[name], MODES[mode]
    is_eager = "run_eagerly" in arguments
    if is_eager and not form.is_told_eagerly:
        pytest.skip("an eager step does not show where a value comes from")
    if base is keras.Model and not form.keras_takes:
        pytest.skip("Keras takes no empty logs")
    logger = StepLogger(tmp_path, every_steps=1, clock=functools.partial(next, itertools.count()))
    history = fit(name, base, arguments, callbacks=[logger])

    of_keras = {n: v for n, v in arguments.items() if n in ("run_eagerly", "jit_compile")}
    expected_history = history_of_keras(name, **of_keras) if form.keras_takes else {}
    if base is TapeModel:
        expected_history = {n: pytest.approx(v, rel=1e-6) for n, v in expected_history.items()}
    assert history == expected_history

    steps = list(form.loop(batches_of(*data(), epochs=EPOCHS)))
    expected = {tag: {} for values in steps for tag in values}
    for step, values in enumerate(steps):
        for tag, value in values.items():
            expected[tag][step] = pytest.approx(value, rel=2e-5)
    if base is keras.Model:
        expected = {tag: v for tag, v in expected.items() if not tag.startswith("gradient_norm")}
    points = points_of(tmp_path / "train")
    if arguments.get("steps_per_execution", 1) == 1:  # Each execution takes a second.
        assert list(points["examples_per_second"].values()) == [4, 4, 4, 4, 2] * EPOCHS
    found = {tag: v for tag, v in points.items() if not tag.startswith(("epoch_", "examples_"))}
    assert found == expected

    printed = ["loss"] if "loss" in form.losses else form.losses
    lines = []
    for step in range(len(steps) if printed else 0):
        words = " ".join(f"{name}: {np.float32(points[name][step])!s}" for name in printed)
        lines.append(f"{step // STEPS} {step % STEPS} {words}")
    half = len(lines) // EPOCHS
    expected_lines = ["0", *lines[:half], "1", *lines[half:]]
    assert capsys.readouterr().out.splitlines() == expected_lines


@pytest.mark.slow
@forms_in_modes
def test_any_loss_that_is_not_finite_ends_training(name, mode):
    (base, arguments), form = MODES[mode], FORMS[name]
    if not form.losses:
        pytest.skip("it has no losses")
    y = data()[1].copy()
    y[2 * BATCH + 1] = np.nan
    with pytest.raises(DivergedError) as caught:
        fit(name, base, arguments, callbacks=[DivergenceGuard()], y=y)
    assert caught.value.step == 2
    said, _, _ = str(caught.value).partition(" not finite at step 2 ")
    losses = [loss.removesuffix(" (epoch mean)") for loss in form.losses]
    assert all(loss in said for loss in losses), said


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_mean_of_a_loss_for_each_example_is_logged(mode, tmp_path, points_of):
    (base, arguments), (x, y) = MODES[mode], data()
    model = a_loss_for_each_example(base, **arguments)
    fit_once = functools.partial(model.fit, x, batch_size=BATCH, shuffle=False, verbose=0)
    fit_once(y, callbacks=[StepLogger(tmp_path, every_steps=1)])
    expected = [values["loss"] for values in one_loss(batches_of(x, y, epochs=1))]
    found = points_of(tmp_path / "train")["loss"]
    assert list(found.values()) == pytest.approx(expected, rel=2e-5)
    y[2 * BATCH + 1] = np.nan
    with pytest.raises(DivergedError, match=r"^the loss is not finite at step [27] "):
        fit_once(y, callbacks=[StepLogger(None), DivergenceGuard()])


@pytest.mark.parametrize("loss", ["d_loss", "g_loss"])
@pytest.mark.parametrize("base", [TapeModel, keras.Model])
def test_the_one_loss_that_is_not_finite_is_named(loss, base):
    model = FORMS["a gan"].make(base)
    optimizer = {"d_loss": model.d_optimizer, "g_loss": model.g_optimizer}[loss]
    layer = {"d_loss": model.discriminator, "g_loss": model.generator}[loss]
    optimizer.learning_rate = 0.0

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                layer.kernel.assign([[math.inf]])

    model.train_step = functools.partial(_independent_step, model)
    x, y = data()
    guard = DivergenceGuard()
    with pytest.raises(DivergedError, match=f"^{loss} is not finite at step 2 .*: inf"):
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[Break(), guard])


def _independent_step(model, data):
    """A step in which neither loss depends on the other network."""
    x, y = data
    model.d_loss_metric.update_state(model.descend(model.discriminator, model.d_optimizer, x, y))
    model.g_loss_metric.update_state(model.descend(model.generator, model.g_optimizer, x, y))
    return {metric.name: metric.result() for metric in (model.d_loss_metric, model.g_loss_metric)}
