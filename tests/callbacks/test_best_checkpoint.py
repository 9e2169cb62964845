"""Which checkpoint is the best, and how its weights or those of any other come into a model."""

import doctest
import shutil

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.checkpoint import file_bundle, learning_rates, ranking
from mnist_keras.checkpoint.storage import DamagedError, read_manifest
from mnist_keras.checkpoint.training_state import StateMismatchError
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).random((8, 3), dtype=np.float32)
Y = np.eye(2, dtype=np.float32)[[0, 1] * 4]


def network(units=2):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])


def compiled(model=None, **arguments):
    model = model or TapeModel(network())
    model.compile(**{"optimizer": "sgd", "loss": "mse", "metrics": ["accuracy"], **arguments})
    return model


class Scores(keras.callbacks.Callback):
    """Epochs with given values of a metric."""

    def __init__(self, name, *values):
        super().__init__()
        self._name, self._values = name, values

    def on_epoch_end(self, epoch, logs=None):
        logs[self._name] = self._values[epoch]


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"monitor": "val_accuracy"}, [8, 16]),
        ({"monitor": "val_accuracy", "mode": "min"}, [4, 16]),
        ({"monitor": "accuracy"}, [8, 16]),
        ({"monitor": "val_loss"}, [4, 16]),
        ({"monitor": "val_error", "mode": "max"}, [8, 16]),
    ],
)
@pytest.mark.parametrize("kind", [TapeModel, keras.Model])
def test_the_best_by_the_metric_is_kept(kind, arguments, kept, tmp_path, steps_in):
    model = compiled(TapeModel(network()) if kind is TapeModel else network())
    scores = Scores(arguments["monitor"], 0.2, 0.9, 0.5, 0.4)
    checkpoint = Checkpoint(tmp_path, keep=1, **arguments)
    model.fit(X, Y, batch_size=2, epochs=4, verbose=0, callbacks=[scores, checkpoint])
    assert steps_in(tmp_path) == kept


class Own(keras.metrics.Metric):
    """Says nothing about its direction."""

    def __init__(self, name="own", direction=None):
        super().__init__(name=name)
        if direction:
            self._direction = direction

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return 0.5


def two_outputs():
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(2, name=name)(inputs) for name in ("left", "right")}
    model = TapeModel(inputs=inputs, outputs=outputs)
    model.compile(
        loss={"left": "mse", "right": "mae"},
        metrics={"left": ["accuracy"], "right": ["accuracy", "mse"]},
        weighted_metrics={"left": ["mse"], "right": [keras.metrics.F1Score()]},
    )
    return model, {"left": Y, "right": Y}


def test_every_metric_of_two_outputs_has_its_mode():
    model, y = two_outputs()
    data = X, y, {"left": np.ones(8), "right": np.ones(8)}
    history = model.fit(*data[:2], sample_weight=data[2], validation_data=data, verbose=0).history
    modes = {name: ranking.best_is(name, model) for name in history}
    assert modes == {
        name: "max" if name.endswith(("accuracy", "f1_score")) else "min" for name in history
    }
    assert len(modes) == 16


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("g_loss", "min"),
        ("auc", "max"),
        ("val_error", "min"),
        ("up", "max"),
        ("down", "min"),
        ("own", None),
        ("val_acc", None),
    ],
)
def test_the_mode_is_inferred_as_keras_infers_it(monitor, mode):
    metrics = [
        keras.metrics.AUC(name="auc"),
        keras.metrics.RootMeanSquaredError(name="error"),
        Own("up", "up"),
        Own("down", "down"),
        Own(),
    ]
    model = compiled(metrics=metrics)
    model.test_on_batch(X, Y)
    assert ranking.best_is(monitor, model) == mode
    early = keras.callbacks.EarlyStopping(monitor)
    early.set_model(model)
    if mode is None:
        with pytest.raises(ValueError, match="isn't able to automatically determine"):
            early._set_monitor_op()
    elif monitor != "g_loss":  # Keras knows only the name "loss".
        early._set_monitor_op()
        assert early.monitor_op is {"min": keras.ops.less, "max": keras.ops.greater}[mode]


def eager_without_a_shape():
    """Its metrics are not made before its first step."""

    class Model(TapeModel):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Dense(2)

        def train_step(self, data):
            x, y = data
            y_pred = self.layer(x)
            return self.compute_metrics(x, y, y_pred, None)

    return compiled(Model(), run_eagerly=True)


# Keras makes the metrics of a plain model in its first step.
@pytest.mark.parametrize(("kind", "steps"), [(TapeModel, 0), (lambda network: network, 1)])
def test_an_unknown_mode_is_an_error_before_training(kind, steps, tmp_path):
    model = compiled(kind(network()))
    checkpoint = Checkpoint(tmp_path, monitor="val_acc", every_steps=1)
    with pytest.raises(UsageError) as error:
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[checkpoint])
    assert checkpoint.step == steps
    assert str(error.value) == (
        "it cannot be inferred whether lower or higher values of the monitored metric are better. "
        "Received: monitor='val_acc' with mode=\"auto\". "
        'Expected: mode="min" or mode="max", or a metric of the model: accuracy, loss.'
    )


@pytest.mark.parametrize("monitor", ["accuracy", "val_acc"])
def test_metrics_made_by_the_first_step_are_asked_after_it(monitor, tmp_path, steps_in):
    model = eager_without_a_shape()
    checkpoint = Checkpoint(tmp_path, monitor=monitor, keep=1, every_steps=1)
    fit = {"batch_size": 2, "verbose": 0, "callbacks": [Scores("accuracy", 0.5), checkpoint]}
    if monitor == "accuracy":
        model.fit(X, Y, **fit)
        assert checkpoint.load_best(model) == 4
    else:
        with pytest.raises(UsageError, match="cannot be inferred"):
            model.fit(X, Y, **fit)


def test_a_metric_that_does_not_appear_is_reported_once(tmp_path, capsys):
    checkpoint = Checkpoint(tmp_path, monitor="val_accuracy")
    compiled().fit(X, Y, epochs=3, verbose=0, callbacks=[checkpoint])
    assert capsys.readouterr().err == (
        "the checkpoint of epoch 0 is not ranked: there is no such number. Received: "
        "monitor='val_accuracy'. Expected: one of accuracy, loss.\n"
    )


# The weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the directory of 4 checkpoints ranked by val_accuracy, {step: weights})."""
    directory, weights = tmp_path_factory.mktemp("trained"), {}
    model = compiled(optimizer="adam")
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.update({4 * epoch + 4: model.get_weights()})
    )
    scores = Scores("val_accuracy", 0.2, 0.9, 0.5, 0.4)
    checkpoint = Checkpoint(directory, keep=9, monitor="val_accuracy")
    callbacks = [scores, keep, checkpoint]
    model.fit(X, Y, batch_size=2, epochs=4, verbose=0, callbacks=callbacks)
    return directory, weights


LOADS = {
    "the newest": ({}, lambda it, model: it.load(model), 16),
    "a step": ({}, lambda it, model: it.load(model, step=4), 4),
    "the best as it was saved": ({}, lambda it, model: it.load_best(model), 8),
    "the best by the same metric": (
        {"monitor": "val_accuracy"},
        lambda it, model: it.load_best(model),
        8,
    ),
    "the worst": (
        {"monitor": "val_accuracy", "mode": "min"},
        lambda it, model: it.load_best(model),
        4,
    ),
    "the best by another metric": ({"monitor": "loss"}, lambda it, model: it.load_best(model), 16),
}


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("make", [network, lambda: TapeModel(network()), compiled])
def test_weights_are_loaded_into_a_model_that_predicts(make, load, trained):
    (directory, weights), (arguments, call, step) = trained, LOADS[load]
    model = make()
    assert call(Checkpoint(directory, **arguments), model) == step
    for found, expected in zip(model.get_weights(), weights[step], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert getattr(model, "optimizer", None) is None or not model.optimizer.built


def test_the_best_is_loaded_during_and_after_its_own_training(tmp_path):
    class Load(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch:
                loaded.append(checkpoint.load_best(network()))

    loaded, model = [], compiled()
    checkpoint = Checkpoint(tmp_path, monitor="val_accuracy")
    scores = Scores("val_accuracy", 0.2, 0.9, 0.5)
    fit = {"batch_size": 2, "epochs": 3, "verbose": 0}
    model.fit(X, Y, callbacks=[scores, checkpoint, Load()], **fit)
    assert [*loaded, checkpoint.load_best(model)] == [4, 8, 8]


def test_weights_of_a_network_wrapped_unbuilt_are_loaded(tmp_path):
    model = compiled(TapeModel(keras.Sequential([keras.layers.Dense(2)])))
    model.fit(X, Y, verbose=0, callbacks=[Checkpoint(tmp_path)])
    alone = network()
    Checkpoint(tmp_path).load(alone)
    np.testing.assert_array_equal(alone.predict(X, verbose=0), model.predict(X, verbose=0))


ERRORS = {
    "nothing there": (
        "empty",
        lambda it: it.load(network()),
        UsageError,
        "there is no checkpoint. Received: {directory}. "
        "Expected: a directory in which a Checkpoint has saved one.",
    ),
    "no best there": (
        "empty",
        lambda it: it.load_best(network()),
        UsageError,
        "there is no checkpoint. Received: {directory}. ",
    ),
    "another step": (
        "trained",
        lambda it: it.load(network(), step=5),
        UsageError,
        "the checkpoint does not exist. Received: step 5 in {directory}. "
        "Expected: a step of the directory (found: 4, 8, 12, 16).",
    ),
    "another model": (
        "trained",
        lambda it: it.load_best(network(units=3)),
        StateMismatchError,
        "the saved state does not match the model. Received: sequential",
    ),
    "a model that is not built": (
        "trained",
        lambda it: it.load(keras.Sequential([keras.layers.Dense(2)])),
        StateMismatchError,
        "the saved state has an extra variable. Received: sequential",
    ),
    "not ranked": (
        "unranked",
        lambda it: it.load_best(network()),
        UsageError,
        "the checkpoints in {directory} are not ranked. Received: monitor=None. "
        "Expected: Checkpoint(directory, monitor=...), with the name of a metric.",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_weights_that_cannot_be_loaded_are_an_error(case, trained, tmp_path):
    kind, call, error_type, message = ERRORS[case]
    directory = trained[0] if kind == "trained" else tmp_path
    if kind == "unranked":
        compiled().fit(X, Y, verbose=0, callbacks=[Checkpoint(directory)])
    with pytest.raises(error_type) as error:
        call(Checkpoint(directory))
    assert str(error.value).startswith(message.format(directory=directory))
    if "not built" in case:
        assert str(error.value).endswith(
            "The model is not built: call it on a batch, or give it a keras.Input."
        )


def test_a_metric_that_no_checkpoint_has_is_an_error(trained):
    checkpoint = Checkpoint(trained[0], monitor="val_error", mode="min")
    with pytest.raises(UsageError) as error:
        checkpoint.load_best(network())
    assert str(error.value) == (
        f"no checkpoint in {trained[0]} has the metric. Received: monitor='val_error'. "
        "Expected: one of accuracy, loss, val_accuracy."
    )


def test_loading_the_best_leaves_a_later_training_unranked(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "copy")
    checkpoint = Checkpoint(tmp_path / "copy", resume=False)
    checkpoint.load_best(network())
    compiled().fit(X, Y, batch_size=1, verbose=0, callbacks=[checkpoint])
    description = read_manifest(tmp_path / "copy" / "step-00000008")["description"]
    assert description.keys() == {"step", "metrics"}


def test_a_damaged_best_is_an_error_and_not_another_one(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "copy")
    (tmp_path / "copy" / "step-00000008" / "state.npz").write_bytes(b"")
    with pytest.raises(DamagedError):
        Checkpoint(tmp_path / "copy").load_best(network())


@pytest.mark.parametrize("module", [ranking, file_bundle, learning_rates])
def test_the_examples_in_the_docstrings_run(module):
    assert doctest.testmod(module).failed == 0
