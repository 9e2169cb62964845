"""Callbacks without a ``state_dict``: a killed training ends as without the kill."""

import collections
import contextlib
import functools
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.data import batches
from tests.callbacks.killing import Kill, Killed

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


class Own(keras.callbacks.Callback):
    """Sets the learning rate after each batch to what a subclass computes."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.01 / (1 + abs(float(self.number(logs))))


class Counter(Own):
    def __init__(self):
        super().__init__()
        self.count = 0

    def number(self, logs):
        self.count += 1
        return self.count % 5


class Losses(Own):
    def on_train_begin(self, logs=None):
        self.losses = collections.defaultdict(list)

    def number(self, logs):
        self.losses["loss"].append(np.float32(logs["loss"]))
        return np.mean(self.losses["loss"][-4:])


class Drawing(Own):
    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(1)

    def number(self, logs):
        return self.generator.random()


class DrawingFromKeras(Own):
    def number(self, logs):
        return keras.random.uniform(())


class Average(Own):
    def on_train_begin(self, logs=None):
        self.shadow = [keras.Variable(weight) for weight in self.model.get_weights()]

    def number(self, logs):
        for average, weight in zip(self.shadow, self.model.get_weights(), strict=True):
            average.assign(0.9 * average + 0.1 * weight)
        return np.sum(np.array(self.shadow[0]))


class Resetting(Own):
    """Begins each epoch anew, and draws there."""

    def on_epoch_begin(self, epoch, logs=None):
        self.count = 10 * epoch + np.random.random()
        bias = self.model.network.layers[-1].bias
        bias.assign(np.full(bias.shape, epoch))

    def number(self, logs):
        self.count *= 0.7
        return self.count


class KerassNames(Own):
    """Uses names that Keras's and this package's callbacks use too."""

    def __init__(self):
        super().__init__()
        self.step, self.best, self.wait, self.history = 0, np.inf, 0, []

    def number(self, logs):
        self.step += 1
        self.best, self.wait = min(self.best, logs["loss"]), self.wait + 1
        self.history.append(self.best)
        return self.step + self.wait + self.best + len(self.history)


class Toggling(Own):
    on = False

    def on_epoch_begin(self, epoch, logs=None):
        self.on = not self.on

    def number(self, logs):
        return int(self.on)


class TogglingInPlace(Own):
    """Toggles parts of objects, which have their first values again in the second epoch."""

    def __init__(self):
        super().__init__()
        self.flags, self.scale = {"on": False}, tf.Variable(1.0)

    def on_epoch_begin(self, epoch, logs=None):
        self.flags["on"] = not self.flags["on"]
        self.scale.assign(3.0 - self.scale)

    def number(self, logs):
        return int(self.flags["on"]) + self.scale.numpy()


class MeanTeacher(Own):
    def on_train_begin(self, logs=None):
        self.teacher = keras.models.clone_model(self.model.network)
        self.teacher.set_weights(self.model.get_weights())

    def number(self, logs):
        pairs = zip(self.teacher.get_weights(), self.model.get_weights(), strict=True)
        self.teacher.set_weights([0.9 * old + 0.1 * new for old, new in pairs])
        return np.sum(self.teacher.get_weights()[0])


class Loading(Own):
    """Has a ``load_state_dict`` that must be called once."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def state_dict(self):
        return {"seen": list(self.seen)}

    def load_state_dict(self, state):
        self.seen += state["seen"]

    def number(self, logs):
        self.seen.append(1.0)
        return len(self.seen)


class LoadingAtEpochs(Loading):
    def on_epoch_begin(self, epoch, logs=None):
        pass


class Doubling(Own):
    """Keeps the state that it is given, and doubles it in place when an epoch begins."""

    def __init__(self):
        super().__init__()
        self.mean = np.ones(2)

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]

    def on_epoch_begin(self, epoch, logs=None):
        self.mean *= 2

    def number(self, logs):
        self.mean += logs["loss"]
        return self.mean.sum()


class CreatedLate(Own):
    """Makes its averages at the first batch, and changes them when an epoch begins."""

    def __init__(self):
        super().__init__()
        self.averages = None
        self.recent = collections.deque(maxlen=2)

    def on_epoch_begin(self, epoch, logs=None):
        for weight in self.averages or []:
            weight.assign(weight * 0.5)
        for array in self.recent:
            array *= 2

    def number(self, logs):
        weights = self.model.get_weights()
        if self.averages is None:
            self.averages = [keras.Variable(weight) for weight in weights]
        for average, weight in zip(self.averages, weights, strict=True):
            average.assign(0.9 * average + 0.1 * weight)
        self.recent.append(weights[0].copy())
        return np.sum(np.array(self.averages[0])) + np.sum(self.recent)


def halving():
    return keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)


MAKERS = [Counter, Losses, Drawing, DrawingFromKeras, Average, Resetting]
MAKERS += [KerassNames, Toggling, MeanTeacher, Loading, LoadingAtEpochs, halving]
MAKERS += [Doubling, CreatedLate, TogglingInPlace]


@functools.cache
def traced():
    """(a model, its first state); it is one for all, because to trace takes most of the time."""
    keras.utils.set_random_seed(0)
    model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model, [np.array(v) for v in (*model.variables, *model.optimizer.variables)]


def make_model():
    """The model as a new process has it."""
    model, first = traced()
    keras.utils.set_random_seed(0)
    for variable, array in zip((*model.variables, *model.optimizer.variables), first, strict=True):
        variable.assign(array)
    model.steps_trained = 0
    return model


def fit(model, *callbacks):
    history = model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=list(callbacks))
    return history.history, [np.array(weight).tolist() for weight in model.variables]


def quiet(directory):
    return Checkpoint(directory, every_steps=4, notice=lambda line: None)


@pytest.mark.parametrize("make", MAKERS)
def test_a_killed_training_gives_the_uninterrupted_result(make, tmp_path):
    expected = fit(make_model(), make(), quiet(tmp_path / "whole"))
    for kill in (9, 15):  # In the second and the third epoch, after the checkpoints at 8 and 12.
        with contextlib.suppress(Killed):
            fit(make_model(), make(), quiet(tmp_path / "killed"), Kill(kill))
    assert fit(make_model(), make(), quiet(tmp_path / "killed")) == expected


def test_a_stream_resumes_without_a_second_draw_at_epoch_begin(tmp_path):
    def run(directory, *callbacks):
        images = np.random.default_rng(0).integers(0, 255, (24, 2, 2), np.uint8)
        data = batches(images, np.arange(24) % 10, batch_size=4, shuffle=True, seed=0)
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
        model = TapeModel(network)
        model.compile(optimizer="adam", loss="mse")
        own = Resetting()
        history = model.fit(
            data, epochs=3, verbose=0, callbacks=[own, quiet(directory), *callbacks]
        )
        return history.history, own.count, np.random.random()

    expected = run(tmp_path / "whole")
    for kill in (9, 15):
        with contextlib.suppress(Killed):
            run(tmp_path / "killed", Kill(kill))
    assert run(tmp_path / "killed") == expected


@pytest.mark.parametrize("make", [Counter, Losses])
def test_an_interrupted_cell_runs_again_with_the_same_objects(make, tmp_path):
    expected = fit(make_model(), make(), quiet(tmp_path / "whole"))
    model, own, checkpoint = make_model(), make(), quiet(tmp_path / "interrupted")
    with contextlib.suppress(Killed):
        fit(model, own, checkpoint, Kill(7))
    assert fit(model, own, checkpoint) == expected


class Failing(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == 7:
            raise ValueError("a mistake in this callback")


class Milestone(Own):
    """Changes an attribute of its own only after the newest checkpoint."""

    def __init__(self):
        super().__init__()
        self.passed = {"milestones": 0}

    def number(self, logs):
        if self.model.steps_trained == 6:
            self.passed["milestones"] += 1
        return self.passed["milestones"]


def test_an_interrupted_cell_runs_again_without_a_failed_callback(tmp_path):
    expected = fit(make_model(), Milestone(), quiet(tmp_path / "whole"))
    lines = []
    checkpoint = Checkpoint(tmp_path / "interrupted", every_steps=4, notice=lines.append)
    model, own = make_model(), Milestone()
    with pytest.raises(ValueError, match="a mistake"):
        fit(model, own, checkpoint, Failing())
    assert fit(model, own, checkpoint) == expected
    assert not any("not exact" in line for line in lines)


class Settings(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.began = self.name = object()
        self.path = f"runs/{time.time_ns()}"

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_began = time.perf_counter()


def test_settings_paths_and_clocks_are_those_of_the_present_program(tmp_path):
    with contextlib.suppress(Killed):
        fit(make_model(), before := Settings(3), quiet(tmp_path), Kill(9))
    fit(make_model(), after := Settings(5), quiet(tmp_path))
    assert after.patience == 5
    assert after.path != before.path
    assert after.epoch_began > before.epoch_began


def test_a_callback_that_is_missing_at_the_resume_is_named(tmp_path):
    with contextlib.suppress(Killed):
        fit(make_model(), Losses(), quiet(tmp_path), Kill(9))
    lines = []
    fit(make_model(), checkpoint := Checkpoint(tmp_path, notice=lines.append))
    assert any("the state of a callback Losses" in line for line in lines)
    assert not checkpoint.is_exact


def test_an_iterator_of_a_callback_is_named(tmp_path):
    own, lines = Counter(), []
    own.noise = (number for number in range(100))
    fit(make_model(), own, Checkpoint(tmp_path, notice=lines.append))
    (line,) = lines
    assert line.startswith("resume is not exact: the attribute Counter.noise of a callback")
