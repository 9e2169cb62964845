import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.callbacks import StepLogger
from mnist_keras.callbacks.tensorboard.loss_probe import LossProbe, ObservedTrainFunction

X = np.arange(1, 7, dtype=np.float32)[:, None]


class Noisy(keras.Model):
    """Its loss is a random number, which tf.random draws in the graph."""

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(), initializer="ones")

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.weight * tf.random.uniform(())
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss, "weight": tf.identity(self.weight)}


class Quiet(Noisy):
    """Its loss is the mean of the batch."""

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.weight * tf.reduce_mean(data)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss, "weight": tf.identity(self.weight)}


def compiled(kind, **arguments):
    keras.utils.set_random_seed(0)
    model = kind()
    model.compile(keras.optimizers.SGD(0.25), **arguments)
    return model


class Seen(keras.callbacks.Callback):
    """The logs that another callback sees."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(dict(logs))


def fits(kind, *directories):
    """What other callbacks see of fits in a row; one with a directory has a StepLogger."""
    model, seen = compiled(kind), Seen()
    for directory in directories:
        loggers = [] if directory is None else [StepLogger(directory, every_steps=1)]
        model.fit(X, batch_size=2, epochs=2, shuffle=False, verbose=0, callbacks=[*loggers, seen])
    return seen.logs


@pytest.mark.slow
@pytest.mark.parametrize("logged", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("kind", [Noisy, Quiet])
def test_other_callbacks_see_the_same_logs(kind, logged, tmp_path):
    directories = [tmp_path / str(i) if is_logged else None for i, is_logged in enumerate(logged)]
    assert fits(kind, *directories) == fits(kind, None, None)


def test_a_step_traced_before_is_traced_again(tmp_path, points_of):
    seen = fits(Quiet, None, tmp_path)
    points = points_of(tmp_path / "train")["loss"]
    assert points == {step: np.float32(logs["loss"]) for step, logs in enumerate(seen[6:])}


def test_a_step_traced_with_random_draws_is_labelled(tmp_path, points_of, capsys):
    seen = fits(Noisy, None, tmp_path)
    points = points_of(tmp_path / "train")
    assert "loss" not in points
    losses = {step: np.float32(logs["loss"]) for step, logs in enumerate(seen[6:])}
    assert points["loss (epoch mean)"] == losses
    assert points["learning_rate"] == dict.fromkeys(range(6), 0.25)
    line = f"0 0 loss (epoch mean): {seen[6]['loss']}"
    assert capsys.readouterr().out.splitlines()[:2] == ["0", line]


def test_the_function_is_kept_and_the_step_is_given_back():
    model = compiled(Quiet)
    for _ in range(2):
        probe = LossProbe()
        probe.set_model(model)
        model.make_train_function()
        probe.begin_fit(model)
        assert isinstance(model.train_function, ObservedTrainFunction)
        first = model.train_function
    assert model.train_function is first
    assert "train_step" not in vars(model)


def test_a_train_function_of_ones_own_is_left_alone(tmp_path, points_of):
    class Own(Quiet):
        def make_train_function(self, force=False):
            self.train_function = functools.partial(own_function, self)

    def own_function(model, iterator):
        return {"loss": 2.0 * float(tf.reduce_mean(next(iterator)))}

    compiled(Own).fit(
        X, batch_size=2, shuffle=False, verbose=0, callbacks=[StepLogger(tmp_path, every_steps=1)]
    )
    assert points_of(tmp_path / "train")["loss (epoch mean)"] == {0: 3.0, 1: 7.0, 2: 11.0}
