"""The messages and refusals of `Checkpoint` if a training cannot resume exactly."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, NotExactError
from mnist_keras.checkpoint import arithmetic
from mnist_keras.checkpoint.saved_iterator import SavedIterator
from mnist_keras.checkpoint.training_state import StateMismatchError
from tests.callbacks.killing import Kill, Killed

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


class Noisy(TapeModel):
    """Adds noise to its input; the test chooses the source."""

    def __init__(self, draw):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.seed_generator = keras.random.SeedGenerator(1)
        self._draw = draw

    def call(self, x, training=False):
        return self.dense(x + self._draw(self, x)) if training else self.dense(x)


def by_tensorflow(model, x):
    return tf.random.normal(tf.shape(x))


def by_the_models_generator(model, x):
    return keras.random.normal(keras.ops.shape(x), seed=model.seed_generator)


def no_noise(model, x):
    return 0.0


def train(directory, *, draw=no_noise, kill=None, epochs=2, require_exact=False, **data):
    """One process's part of a training; (model, checkpoint, messages)."""
    keras.utils.set_random_seed(0)
    said = []
    model = Noisy(draw)
    model.compile(optimizer="adam", loss="mse", steps_per_execution=3)
    checkpoint = Checkpoint(
        directory, every_steps=4, require_exact=require_exact, notice=said.append
    )
    callbacks = [checkpoint] if kill is None else [checkpoint, Kill(kill)]
    data = {"x": X, "y": Y, "batch_size": 4, **data}
    with contextlib.suppress(Killed):
        model.fit(**data, epochs=epochs, verbose=0, callbacks=callbacks)
    return model, checkpoint, said


def inexact(said):
    return [line for line in said if line.startswith("resume is not exact: ")]


def test_unseeded_tensorflow_noise_is_reported_at_the_first_step(tmp_path):
    _, checkpoint, said = train(tmp_path, draw=by_tensorflow, kill=1)
    (line,) = inexact(said)
    assert "RandomStandardNormal" in line
    assert "keras.random.SeedGenerator" in line
    assert not checkpoint.is_exact


def test_noise_drawn_as_advised_resumes_exactly(tmp_path):
    draw = by_the_models_generator
    whole, checkpoint, said = train(tmp_path / "whole", draw=draw)
    assert checkpoint.is_exact
    assert inexact(said) == []
    train(tmp_path / "killed", draw=draw, kill=9)
    resumed, checkpoint, said = train(tmp_path / "killed", draw=draw)
    assert said[0].startswith("resumed after 8 steps")
    assert checkpoint.is_exact
    for found, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_require_exact_makes_inexact_resume_an_error(tmp_path):
    with pytest.raises(NotExactError, match=r"^resume is not exact: the training step uses"):
        train(tmp_path, draw=by_tensorflow, require_exact=True)


def test_fingerprints_detect_changed_data_values(tmp_path):
    train(tmp_path, kill=9)
    _, checkpoint, said = train(tmp_path, x=X + 1)
    (line,) = inexact(said)
    assert line.startswith("resume is not exact: batch ")
    assert not checkpoint.is_exact


def test_another_version_of_tensorflow_is_reported(tmp_path, monkeypatch):
    train(tmp_path, kill=9)
    monkeypatch.setattr(tf, "__version__", "2.99.0")
    arithmetic.arithmetic.cache_clear()
    _, checkpoint, said = train(tmp_path)
    arithmetic.arithmetic.cache_clear()
    (line,) = inexact(said)
    assert line.startswith("resume is not exact: tensorflow was 2.")
    assert not checkpoint.is_exact


class OwnOrder(keras.utils.PyDataset):
    """Batches of 4, in an order drawn by a generator in an attribute."""

    def __init__(self, seed):
        super().__init__()
        self.generator = np.random.default_rng(seed)
        self.order = np.arange(len(X))

    def __len__(self):
        return len(X) // 4

    def __getitem__(self, index):
        rows = self.order[4 * index : 4 * index + 4]
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.generator.shuffle(self.order)


@pytest.mark.parametrize(("seed", "lines"), [(5, 0), (None, 1)])
def test_an_unseeded_generator_is_reported_between_two_epochs(seed, lines, tmp_path):
    arguments = {"epochs": 3, "y": None, "batch_size": None, "shuffle": False}
    train(tmp_path, x=OwnOrder(seed), kill=13, **arguments)
    _, checkpoint, said = train(tmp_path, x=OwnOrder(seed), **arguments)
    assert said[0].startswith("resumed after 12 steps")
    assert len(inexact(said)) == lines
    assert all("a random generator of the data began" in line for line in inexact(said))
    assert checkpoint.is_exact == (lines == 0)


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        ({"batch_size": 6}, ("batch_size 6", "batch_size 4")),
        ({"x": X[:20], "y": Y[:20]}, ("examples 20", "examples 24")),
        ({"steps_per_epoch": 5}, ("steps_per_epoch 5", "steps_per_epoch None")),
        ({"x": X[:, :2]}, ("float32 (2,)", "float32 (3,)")),
        (
            {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(4), "y": None},
            ("kind tf.data", "kind arrays"),
        ),
    ],
    ids=["batch size", "length", "steps per epoch", "columns", "kind"],
)
def test_different_data_is_refused_with_both_values(tmp_path, data, numbers):
    train(tmp_path, kill=9)
    if "x" in data and data.get("y", Y) is None:
        data = {**data, "batch_size": None}
    with pytest.raises(StateMismatchError) as refused:
        train(tmp_path, **data)
    received, expected = str(refused.value).split("Expected: ")
    assert numbers[0] in received
    assert numbers[1] in expected


def test_a_fit_without_epochs_left_says_it_trains_nothing(tmp_path):
    train(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    model, _, said = train(tmp_path)
    assert said[1].startswith("all epochs are done: nothing is trained. Received: epochs=2")
    assert model.steps_trained == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_different_optimizer_error_suggests_loading_only_weights(tmp_path):
    train(tmp_path, kill=9)
    keras.utils.set_random_seed(0)
    model = Noisy(no_noise)
    model.compile(optimizer="sgd", loss="mse")
    with pytest.raises(StateMismatchError) as refused:
        model.fit(X, Y, batch_size=4, verbose=0, callbacks=[Checkpoint(tmp_path)])
    assert "compiled with a different optimizer" in str(refused.value)
    assert "load_weights(model, directory)" in str(refused.value)


def test_lazily_built_weights_are_restored_before_any_update(tmp_path):
    class OnlyAStep(TapeModel):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.own_optimizer = keras.optimizers.Adam()

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self.dense(x) - y) ** 2)
            weights = self.dense.trainable_weights
            gradients = tape.gradient(loss, weights)
            self.own_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            return {"loss": loss}

    def run(directory, *, kill=None):
        keras.utils.set_random_seed(0)
        model = OnlyAStep()
        model.compile()
        callbacks = [Checkpoint(directory, every_steps=4, notice=lambda line: None)]
        callbacks += [] if kill is None else [Kill(kill)]
        try:
            model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
        except Killed:
            return None
        return [*model.get_weights(), *(np.array(v) for v in model.own_optimizer.variables)]

    whole = run(tmp_path / "whole")
    run(tmp_path / "killed", kill=5)
    resumed = run(tmp_path / "killed")
    assert len(resumed) == len(whole) == 8
    for found, expected in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(found, expected)


class Renaming(TapeModel):
    """Returns its loss under another name than its metrics have."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        return {"own_loss": super().train_step(data)["loss"]}


def test_an_epoch_killed_after_its_last_step_has_its_logs(tmp_path):
    examples = tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda *_: True).batch(4)

    def fit(*callbacks):
        keras.utils.set_random_seed(0)
        model = Renaming()
        model.compile("sgd", "mse", steps_per_execution=4)
        with contextlib.suppress(Killed):
            return model.fit(examples, epochs=2, verbose=0, callbacks=callbacks).history

    expected = fit()
    fit(Checkpoint(tmp_path, every_steps=6), Kill(6))
    assert fit(Checkpoint(tmp_path, every_steps=6)) == expected


def endless():
    keras.utils.set_random_seed(0)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(9, seed=1).repeat()
    return {"x": data.batch(4), "y": None, "batch_size": None, "steps_per_epoch": 6, "epochs": 3}


def test_endless_data_resume_twice_without_a_saved_state(tmp_path, monkeypatch):
    whole, _, _ = train(tmp_path / "whole", **endless())
    with monkeypatch.context() as patch:
        # As in a checkpoint of an earlier version.
        patch.setattr(SavedIterator, "at", lambda self, iterator, draws: (None, 0))
        train(tmp_path / "killed", kill=9, **endless())
    train(tmp_path / "killed", kill=14, **endless())
    resumed, _, said = train(tmp_path / "killed", **endless())
    for found, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [line.partition(",")[0] for line in said] == ["resumed after 12 steps"]
