"""A TapeModel that sets nothing: many steps per execution, and nobody notices."""

import doctest
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.model import batch_hooks

X = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)
Y = X[:, :1] * 2
HOOKS = [
    f"on_{phase}_batch_{end}" for phase in ("train", "test", "predict") for end in ("begin", "end")
]


class Everything(keras.callbacks.Callback):
    """Notes each call of a hook of batches, and what it sees of the model."""

    def __init__(self, hooks):
        super().__init__()
        self.seen = []
        for name in hooks:
            setattr(self, name, lambda batch, logs=None, name=name: self._note(name, batch, logs))

    def _note(self, name, batch, logs):
        weights = [weight.tolist() for weight in self.model.get_weights()]
        values = {key: np.asarray(value).tolist() for key, value in (logs or {}).items()}
        self.seen.append((name, batch, values, weights))


def made(base, **compile_arguments):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    model = base(inputs=inputs, outputs=keras.layers.Dense(1)(inputs))
    model.compile(**{"optimizer": "sgd", "loss": "mse", "metrics": ["mae"], **compile_arguments})
    return model


def endless():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()


def of_unknown_length():  # Keras alone counts a step too many, so Adam would differ.
    return tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda *_: True).batch(8)


def generator():
    while True:
        yield X[:8], Y[:8]


DATA = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 7},
    "a split": lambda: {"x": X, "y": Y, "batch_size": 7, "validation_split": 0.25},
    "a data set": lambda: {"x": of_unknown_length(), "validation_data": of_unknown_length()},
    "a generator": lambda: {"x": generator(), "steps_per_epoch": 5},
    "no whole passes": lambda: {
        "x": endless(),
        "steps_per_epoch": 7,
        "validation_data": endless(),
        "validation_steps": 4,
    },
    "data that end too early": lambda: {
        "x": endless().take(9),
        "steps_per_epoch": 20,
        "validation_data": endless().take(3),
        "validation_steps": 5,
    },
}


def trained(base, data, hooks):
    model = made(base)
    callback = Everything(hooks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(**DATA[data](), epochs=3, verbose=0, callbacks=[callback]).history
    told = {str(warning.message) for warning in caught if "ran out" in str(warning.message)}
    scores = model.evaluate(X, Y, batch_size=7, verbose=0, callbacks=[callback])
    prediction = model.predict(X, batch_size=7, verbose=0, callbacks=[callback])
    return callback.seen, history, scores, prediction.tolist(), told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "hooks"),
    [
        *((data, HOOKS) for data in DATA),
        *(("no whole passes", hooks) for hooks in (HOOKS[2:4], ["on_batch_end"], [])),
    ],
    ids=str,
)
def test_a_foreign_callback_sees_what_keras_shows(data, hooks):
    assert trained(TapeModel, data, hooks) == trained(keras.Model, data, hooks)


class Boundaries(StepCallback):
    """Counts how often it is called."""

    calls = 0

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.calls += 1


def boundaries(*callbacks, **fit_arguments):
    model, counted = made(TapeModel), Boundaries()
    data = {"x": endless(), "steps_per_epoch": 200, "verbose": 0, **fit_arguments}
    model.fit(**data, callbacks=[counted, *callbacks])
    assert (counted.step, model.steps_per_execution) == (200, 100)
    return counted.calls


@pytest.mark.slow
def test_many_steps_run_in_one_execution(tmp_path):
    assert boundaries() < 100
    saver = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    assert boundaries(saver, keras.callbacks.EarlyStopping("loss"), verbose=2) < 100


@pytest.mark.slow
def test_one_step_runs_where_keras_shows_each_batch(tmp_path):
    assert boundaries(keras.callbacks.LambdaCallback(on_train_batch_end=print_nothing)) == 200
    assert boundaries(keras.callbacks.TerminateOnNaN()) == 200
    assert boundaries(Everything(["on_batch_begin"])) == 200


def print_nothing(batch, logs=None):
    del batch, logs


@pytest.mark.slow
def test_keras_saves_after_the_same_batches(tmp_path):
    class Saved(keras.callbacks.ModelCheckpoint):
        def _save_model(self, epoch, batch, logs):
            steps.append((epoch, batch))

    found = []
    for base in (TapeModel, keras.Model):
        steps: list[tuple[int, int]] = []
        saver = Saved(tmp_path / "model.keras", save_freq=4)
        made(base).fit(X, Y, batch_size=5, epochs=2, verbose=0, callbacks=[saver])
        found.append(steps)
    assert found[0] == found[1] == [(0, 3), (0, 7), (1, 1), (1, 5), (1, 9)]


def test_a_train_function_of_the_users_own_runs_every_step():
    class Own(TapeModel):
        def make_train_function(self, force=False):
            self.train_function = lambda iterator: self.train_step(next(iterator))
            return self.train_function

    model = made(Own)
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    assert (model.steps_per_execution, int(model.optimizer.iterations)) == (1, 12)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [{}, {"steps_per_execution": 3}], ids=["default", "3"])
def test_a_loaded_model_is_compiled_as_before(steps, tmp_path):
    model = made(TapeModel, **steps)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = (model.chooses_steps, model.steps_per_execution, 2)
    built = int(loaded.optimizer.iterations)
    assert (loaded.chooses_steps, loaded.steps_per_execution, built) == expected
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


@pytest.mark.filterwarnings("ignore:.compile...was not called:UserWarning")
def test_a_compile_of_the_users_own_sets_the_default():
    class Own(TapeModel):
        def compile(self, rate):
            super().compile(keras.optimizers.SGD(rate), "mse")

    inputs = keras.Input((4,))
    model = Own(inputs=inputs, outputs=keras.layers.Dense(1)(inputs))
    model.compile(0.5)
    assert model.chooses_steps
    assert float(model.optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("steps", ["auto", 1, 20])
@pytest.mark.parametrize("wanted", [1, 7, 130])
def test_an_evaluation_has_as_many_steps_as_requested(steps, wanted):
    model = made(TapeModel, steps_per_execution=steps)
    evaluated = []
    for _ in range(2):  # The second one knows how long a batch takes.
        with warnings.catch_warnings(action="error"):
            model.evaluate(endless(), steps=wanted, verbose=0)
        evaluated.append(int(keras.ops.convert_to_numpy(model.metrics[0].count)) // 8)
    assert evaluated == [wanted, wanted]


def test_a_progress_bar_ends_at_the_last_batch(capsys):
    model = made(TapeModel)
    for _ in range(2):
        model.evaluate(X, Y, batch_size=7, verbose=1)
    shown = [int(seen) for seen in re.findall(r"(\d+)/7\b", capsys.readouterr().out)]
    assert max(shown) == 7


def test_predict_traces_the_network_once():
    traces = []

    class Traced(TapeModel):
        def call(self, inputs):
            traces.append(inputs.shape)
            return inputs * 2

    model = Traced()
    model.compile(loss="mse")
    model.predict(X, batch_size=8, verbose=0)
    assert len(traces) <= 2


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(batch_hooks).failed == 0
