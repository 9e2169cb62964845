"""A train function of the program's own: the steps, the callbacks and the resume are the same."""

import contextlib
import doctest
import functools
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, DivergenceGuard, StepLogger
from mnist_keras.callbacks.checkpoint import NotExactError
from mnist_keras.checkpoint import watched_iterator
from mnist_keras.data import batches
from mnist_keras.errors import UsageError
from tests.callbacks.killing import Kill, Killed

X = np.random.default_rng(0).normal(size=(44, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)
INEXACT = "resume is not exact: the train function is the program's own"


def python_around_a_graph(model):
    step = tf.function(lambda data: model.train_step(data))

    def train(iterator):
        return step(next(iterator))

    return train


def a_graph(model):
    @tf.function
    def train(iterator):
        return model.train_step(next(iterator))

    return train


def python(model):
    return lambda iterator: model.train_step(next(iterator))


def of_keras(model):
    model.train_function = None
    keras.Model.make_train_function(model, force=True)
    return model.train_function


def around_ours(model):
    model.train_function = None
    ours = TapeModel.make_train_function(model, force=True)

    def train(iterator):
        return ours(iterator)

    return train


OWN = [python_around_a_graph, a_graph, of_keras, around_ours]


def network(base):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    return base(inputs=inputs, outputs=keras.layers.Dense(1)(keras.layers.Dropout(0.2)(hidden)))


def overriding(make, base=TapeModel):
    class Own(base):
        def make_train_function(self, force=False):
            if self.train_function is None or force:
                self.train_function = make(self)
            return self.train_function

    return Own


def model_with(make, base=TapeModel, **options):
    keras.utils.set_random_seed(1)
    model = network(base if make is None else overriding(make, base))
    model.compile("adam", "mse", metrics=["mae"], **options)
    return model


def assigned(make):
    model = model_with(None)
    model.train_function = make(model)
    return model


def begun_again(model, build):
    """A trained model as ``build`` makes it, with the graphs that it has."""
    new = build()
    found = []
    for one in (model, new):
        if not one.optimizer.built:
            one.optimizer.build(one.trainable_variables)
        found.append([*one.variables, *one.optimizer.variables])
    for variable, first in zip(*found, strict=True):
        variable.assign(first)
    model.steps_trained = 0
    return model


class Hooks(keras.callbacks.Callback):
    """Writes down each call of a hook."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch", epoch))

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch, {name: float(value) for name, value in logs.items()}))

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(("test", batch))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(watched_iterator).failed == 0


def test_a_strategys_iterator_is_watched_as_well():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    seen = []
    iterator = iter(strategy.experimental_distribute_dataset(tf.data.Dataset.range(6)))
    watched_iterator.watch(iterator, lambda batch: seen.append(int(batch)))
    drawn = [int(next(iterator)), int(iterator.get_next()), int(next(iterator))]
    assert seen == drawn == [0, 1, 2]


def called(base, make, data):
    """The calls of the hooks, the history and the weights of two epochs."""
    model, hooks = model_with(make, base), Hooks()
    options = {"x": X, "y": Y, "batch_size": 8}
    if data == "generator":
        pairs = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 24, 8)]
        options = {"x": (pair for pair in pairs * 9), "steps_per_epoch": 5}
    history = model.fit(**options, epochs=2, validation_data=(X, Y), verbose=0, callbacks=[hooks])
    return hooks.calls, history.history, model.get_weights()


@functools.cache
def called_by_keras(data):
    return called(keras.Model, None, data)


@pytest.mark.parametrize("make", [*OWN, python])
@pytest.mark.parametrize("data", ["arrays", "generator"])
def test_callbacks_are_called_as_in_keras(make, data):
    calls, history, weights = called(TapeModel, make, data)
    keras_calls, keras_history, keras_weights = called_by_keras(data)
    assert [call[:2] for call in calls] == [call[:2] for call in keras_calls]
    assert history.keys() == keras_history.keys()
    for name, values in history.items():
        assert values == pytest.approx(keras_history[name], rel=1e-4)
    for mine, theirs in zip(weights, keras_weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


DATA = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 8},
    "tf.data": lambda: {
        "x": tf.data.Dataset.from_tensor_slices((X, Y))
        .shuffle(44, seed=3, reshuffle_each_iteration=False)
        .batch(8)
        .repeat(),
        "steps_per_epoch": 5,
    },
    "of unknown length": lambda: {
        "x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).filter(lambda x, y: True)
    },
}


def train(build, place, *, data="arrays", kill=None, every_steps=4, epochs=3, **options):
    """A process's part of a training: (weights, history, what was said, whether it is exact)."""
    model, said = build(), []
    checkpoint = Checkpoint(place / "ckpt", every_steps=every_steps, notice=said.append, **options)
    logger = StepLogger(place / "log", every_steps=1, echo=False)
    callbacks = [checkpoint, logger, DivergenceGuard(), *([] if kill is None else [Kill(kill)])]
    history = None
    with contextlib.suppress(Killed):
        history = model.fit(**DATA[data](), epochs=epochs, verbose=0, callbacks=callbacks).history
    inexact = [line for line in said if line.startswith("resume is not exact: ")]
    assert checkpoint.is_exact == (not inexact)
    return model.get_weights(), history, inexact, model.steps_trained


def bits(weights):
    return [weight.tobytes() for weight in weights]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """ended(make, data, kill=None): (directory, result) of a training, run once.

    The trainings of the same train function have one model, and so trace its graphs once.
    """

    @functools.cache
    def model_of(make):
        return model_with(make)

    @functools.cache
    def once(make, data="arrays", kill=None):
        place, model = tmp_path_factory.mktemp("ended"), model_of(make)
        return place, train(
            lambda: begun_again(model, lambda: model_with(make)), place, data=data, kill=kill
        )

    return once


@pytest.fixture
def killed(ended, tmp_path):
    """killed(make, data): a copy of what a training leaves that was killed at step 9."""

    def copied(make, data="arrays"):
        place, _ = ended(make, data, kill=9)
        return shutil.copytree(place, tmp_path / "killed")

    return copied


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("make", OWN)
def test_resumes_to_the_bit_within_an_epoch(make, data, ended, killed, points_of):
    place, whole = ended(make, data)
    again = killed(make, data)
    resumed = train(lambda: model_with(make), again, data=data)
    assert bits(resumed[0]) == bits(whole[0])
    assert resumed[1:] == whole[1:]
    assert whole[2:] == ([], 15 if data == "tf.data" else 18)
    assert points(points_of, again) == points(points_of, place)


def points(points_of, place):
    """{tag: {step: value}} of what was logged for each step, but not the speed."""
    found = points_of(place / "log" / "train")
    return {tag: values for tag, values in found.items() if tag != "examples_per_second"}


def whole_and_resumed(build, tmp_path, *, kill, **options):
    """The results of a training and of one that was killed and resumed by a new model."""
    model = build()
    whole = train(lambda: model, tmp_path / "whole", **options)
    train(lambda: begun_again(model, build), tmp_path / "killed", kill=kill, **options)
    return whole, train(build, tmp_path / "killed", **options)


@pytest.mark.parametrize("make", [python_around_a_graph, around_ours])
def test_an_assigned_function_resumes_to_the_bit(make, tmp_path):
    whole, resumed = whole_and_resumed(lambda: assigned(make), tmp_path, kill=9)
    assert bits(resumed[0]) == bits(whole[0])
    assert resumed[1:] == whole[1:] == (whole[1], [], 18)


def test_an_assigned_function_is_the_models_again_after_fit():
    model = assigned(python)
    function = model.train_function
    model.fit(X, Y, batch_size=8, verbose=0)
    assert model.train_function is function
    assert model.steps_trained == int(model.optimizer.iterations) == 6


def test_a_function_around_ours_logs_the_same_points(ended, points_of):
    found = [points(points_of, ended(make)[0]) for make in (None, around_ours)]
    assert found[0] == found[1]
    assert set(found[0]["gradient_norm"]) == set(range(18))


def twice_ours(model):
    ours = around_ours(model)
    return lambda iterator: (ours(iterator), ours(iterator))[1]


def test_a_function_that_calls_ours_twice_counts_one_step(tmp_path):
    def build():
        models.append(model_with(twice_ours))
        return models[-1]

    models: list[TapeModel] = []
    whole, resumed = whole_and_resumed(build, tmp_path, kill=9, data="tf.data")
    assert bits(resumed[0]) == bits(whole[0])
    assert resumed[1:] == whole[1:] == (whole[1], [], 15)
    assert (models[-1].step_records.first_step, int(models[-1].optimizer.iterations)) == (14, 30)


@pytest.mark.parametrize("steps", [3, 4])
def test_a_function_around_ours_runs_many_steps(steps, ended, tmp_path):
    def build():
        return model_with(around_ours, steps_per_execution=steps)

    whole, resumed = whole_and_resumed(build, tmp_path, kill=11, every_steps=5)
    assert bits(resumed[0]) == bits(whole[0]) == bits(ended(None)[1][0])
    assert resumed[1:] == whole[1:]


def drawing_in_a_closure(model):
    step = tf.function(lambda data: noisy(model, data))
    return lambda iterator: step(next(iterator))


def drawing_in_its_graph(model):
    return tf.function(lambda iterator: noisy(model, next(iterator)))


def noisy(model, data):
    x, y = data
    return model.train_step((x + tf.random.normal(tf.shape(x)), y))


@pytest.mark.parametrize("make", [drawing_in_a_closure, drawing_in_its_graph])
def test_random_operations_in_the_function_are_named(make, tmp_path):
    said = train(lambda: model_with(make), tmp_path)[2]
    assert len(said) == 1
    assert "the training step uses RandomStandardNormal" in said[0]


def test_random_operations_are_refused_where_exactness_is_required(tmp_path):
    with pytest.raises(NotExactError, match="RandomStandardNormal"):
        train(lambda: model_with(drawing_in_a_closure), tmp_path, require_exact=True)


STEPS = {}


def hidden(model):
    STEPS["step"] = tf.function(lambda data: model.train_step(data))
    return lambda iterator: STEPS["step"](next(iterator))


def test_a_function_whose_graph_is_not_seen_says_so(tmp_path):
    said = train(lambda: model_with(hidden), tmp_path)[2]
    assert [line.startswith(f"{INEXACT} and its graph is not seen") for line in said] == [True]


def two_batches(model):
    step = tf.function(lambda data: model.train_step(data))

    def train(iterator):
        for _ in range(2):
            logs = step(next(iterator))
        return logs

    return train


def test_several_batches_drawn_in_python_are_counted(tmp_path):
    options = {"kill": 8, "data": "tf.data", "every_steps": 3}
    whole, resumed = whole_and_resumed(lambda: model_with(two_batches), tmp_path, **options)
    assert bits(resumed[0]) == bits(whole[0])
    assert resumed[1:] == whole[1:] == (whole[1], [], 15)


def two_batches_in_a_graph(model):
    @tf.function
    def train(iterator):
        model.train_step(next(iterator))
        return model.train_step(next(iterator))

    return train


def test_several_batches_drawn_in_a_graph_are_named(tmp_path):
    said = train(lambda: model_with(two_batches_in_a_graph), tmp_path, data="tf.data")[2]
    assert ["it is not seen that each step draws one batch" in line for line in said] == [True]


def counting(model):
    scale, count = tf.Variable(1.0), 0
    step = tf.function(lambda x, y: model.train_step((x * scale.assign_add(0.1), y)))

    def train(iterator):
        nonlocal count
        count += 1
        return step(*next(iterator))

    return train


def test_variables_in_the_closure_are_saved_and_numbers_are_named(tmp_path):
    whole = train(lambda: model_with(counting), tmp_path / "whole")
    train(lambda: model_with(counting), tmp_path / "killed", kill=9)
    resumed = train(lambda: model_with(counting), tmp_path / "killed")
    assert bits(resumed[0]) == bits(whole[0])
    assert [line[:70] for line in whole[2]] == [
        "resume is not exact: the attribute count of the model changes during t"
    ]


def test_changed_data_are_named_at_a_resume(killed):
    place = killed(python_around_a_graph)
    X[:] += 1
    try:
        said = train(lambda: model_with(python_around_a_graph), place)[2]
    finally:
        X[:] -= 1
    assert any("has changed since the checkpoint" in line for line in said)


@pytest.mark.parametrize("make", [python_around_a_graph, a_graph, around_ours])
def test_a_stream_resumes_to_the_bit(make, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (44, 28, 28), np.uint8)
    labels = np.arange(44) % 10

    def run(place, kill=None):
        keras.utils.set_random_seed(1)
        network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
        model, said = overriding(make)(network), []
        model.compile("adam", "mse")
        stream = batches(images, labels, batch_size=8, shuffle=True)
        callbacks = [Checkpoint(place, every_steps=4, notice=said.append)]
        callbacks += [] if kill is None else [Kill(kill)]
        with contextlib.suppress(Killed):
            model.fit(stream, epochs=3, verbose=0, callbacks=callbacks)
        return bits(model.get_weights()), [line for line in said if "not exact" in line]

    whole = run(tmp_path / "whole")
    run(tmp_path / "killed", kill=10)
    assert run(tmp_path / "killed") == whole
    assert whole[1] == []


def three_steps(model):
    step = tf.function(lambda data: model.train_step(data))

    def train(iterator):
        for _, data in zip(range(3), iterator):  # noqa: B905
            logs = step(data)
        return logs

    return train


def test_explicit_steps_resume_after_whole_executions(tmp_path):
    def build():
        return model_with(three_steps, steps_per_execution=3)

    def run(model, place, kill=None):
        said = []
        callbacks = [Checkpoint(place, every_steps=6, notice=said.append)]
        callbacks += [] if kill is None else [Kill(kill)]
        with contextlib.suppress(Killed):
            model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
        return bits(model.get_weights()), model.steps_trained, said[1:]

    model = build()
    whole = run(model, tmp_path / "whole")
    run(begun_again(model, build), tmp_path / "killed", kill=9)
    assert run(build(), tmp_path / "killed") == whole
    assert whole[1:] == (18, [])


@pytest.mark.parametrize(
    "callback",
    [lambda place: Checkpoint(place, every_steps=4), lambda place: StepLogger(None, every_steps=3)],
    ids=["checkpoint", "logger"],
)
def test_explicit_steps_refuse_a_step_within_an_execution(callback, tmp_path):
    model = model_with(three_steps, steps_per_execution=3)
    with pytest.raises(UsageError, match="whole executions only"):
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=[callback(tmp_path)])


class OwnTest(TapeModel):
    def make_test_function(self, force=False):
        def test(iterator):
            return self.test_step(next(iterator))

        self.test_function = test
        return test


class OwnTestOfKeras(keras.Model):
    make_test_function = OwnTest.make_test_function


def test_an_own_test_function_is_called_as_in_keras():
    found = []
    for base in (OwnTest, OwnTestOfKeras):
        hooks, model = Hooks(), model_with(None, base)
        model.fit(X, Y, batch_size=8, validation_data=(X, Y), verbose=0, callbacks=[hooks])
        values = model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[hooks])
        found.append(([call[:2] for call in hooks.calls], values))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_an_assigned_test_function_sees_every_batch():
    model, sizes = model_with(None), []

    def test(iterator):
        data = next(iterator)
        sizes.append(len(data[0]))
        return model.test_step(data)

    model.test_function = test
    model.fit(X, Y, batch_size=2, validation_data=(X, Y), validation_batch_size=8, verbose=0)
    model.evaluate(X, Y, batch_size=8, verbose=0)
    assert sizes == [8, 8, 8, 8, 8, 4] * 2
