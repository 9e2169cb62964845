import contextlib
import doctest
import pickle
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import (
    Checkpoint,
    LearningRateFinder,
    StepLogger,
    learning_rate_finder,
    steered_rate,
)
from mnist_keras.data import batches
from mnist_keras.errors import UsageError
from tests.models import Subclassed

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = X @ np.array([[1.0], [-2.0], [0.5]], np.float32)
SWEEP = {"steps": 40, "max_rate": 1e4}
DECAY = keras.optimizers.schedules.ExponentialDecay


def network(*, dropout=0.0):
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(dropout), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((3,)), *layers])


class Noise(keras.layers.Layer):
    """Draws from each kind of generator, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.seen = tf.Variable(0)
        self.generator = tf.random.Generator.from_seed(3)

    def call(self, x):
        self.seen.assign_add(1)
        noise = tf.random.normal(tf.shape(x)) + keras.random.normal(tf.shape(x))
        return x + 0.1 * (noise + self.generator.normal([]))


def noisy():
    return [Noise(), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)]


def scaled(**options):
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), **options)


@contextlib.contextmanager
def half_precision():
    """Models that are made in it compute in float16, and scale their loss."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def half(kind):
    with half_precision():
        return kind(network(dropout=0.5))


# name: (make the model, make the optimizer, further arguments of compile)
PROGRAMS = {
    "adam and dropout": (
        lambda: TapeModel(network(dropout=0.5)),
        lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5),
        {"steps_per_execution": 7},
    ),
    "a schedule": (
        lambda: TapeModel(network()),
        lambda: keras.optimizers.SGD(DECAY(0.1, 3, 0.9), momentum=0.9),
        {"steps_per_execution": 7},
    ),
    "a function as the rate": (
        lambda: TapeModel(network()),
        lambda: keras.optimizers.SGD(lambda: tf.constant(0.02)),
        {},
    ),
    "a scaled loss": (lambda: TapeModel(network()), scaled, {"steps_per_execution": 7}),
    "half precision": (
        lambda: half(TapeModel),
        lambda: keras.optimizers.Adam(0.01),
        {"steps_per_execution": 7},
    ),
    "plain in half precision": (
        lambda: half(lambda network: network),
        lambda: keras.optimizers.SGD(DECAY(0.1, 3, 0.9)),
        {},
    ),
    "accumulation": (
        lambda: TapeModel(network()),
        lambda: keras.optimizers.SGD(0.01, gradient_accumulation_steps=4),
        {},
    ),
    "random steps": (
        lambda: TapeModel(keras.Sequential(noisy())),
        lambda: keras.optimizers.SGD(0.01),
        {"steps_per_execution": 7},
    ),
    "eager random steps": (
        lambda: TapeModel(keras.Sequential(noisy())),
        lambda: keras.optimizers.SGD(0.01),
        {"run_eagerly": True},
    ),
    "plain": (
        lambda: network(dropout=0.5),
        lambda: keras.optimizers.AdamW(0.01),
        {},
    ),
    "plain with a schedule": (network, lambda: keras.optimizers.SGD(DECAY(0.1, 3, 0.9)), {}),
    "plain with random steps": (
        lambda: Subclassed(noisy()),
        lambda: keras.optimizers.SGD(0.01),
        {},
    ),
}


def compiled(program):
    keras.utils.set_random_seed(1)
    make, optimizer, arguments = PROGRAMS[program]
    model = make()
    model.compile(optimizer(), "mse", metrics=["mae"], **arguments)
    if model.run_eagerly:
        model(X)
        model.optimizer.build(model.trainable_variables)
    return model


def sweep(model, **options):
    finder = LearningRateFinder(**{**SWEEP, **options})
    with finder:
        model.fit(X, Y, batch_size=6, epochs=4, verbose=0, callbacks=[finder])
    return finder


def everything(model):
    """What a training leaves, and what the random generators draw next."""
    history = model.fit(X, Y, batch_size=6, epochs=2, verbose=0).history
    variables = [*model.variables, *model.optimizer.variables]
    assert np.isfinite(history["loss"]).all()  # Two results of nan would be equal.
    count = getattr(model, "steps_trained", None)
    draws = [random.random(), np.random.random(), tf.random.normal([]), keras.random.normal([])]
    return [history, count, *map(np.array, (*variables, *draws))]


TWICE = ("adam and dropout", "random steps", "plain with random steps")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "is_half_trained"),
    [*((program, False) for program in PROGRAMS), *((program, True) for program in TWICE)],
)
def test_the_next_fit_is_as_without_the_finder(program, is_half_trained):
    results = []
    for uses_finder in (True, False):
        model = compiled(program)
        if is_half_trained:
            model.fit(X, Y, batch_size=6, verbose=0)
        if uses_finder:
            assert sweep(model).rates[-1] > 0.1
        results.append(everything(model))
    np.testing.assert_equal(*results)


def square(*, kind=TapeModel, curvature=2.0, begin=1.0, optimizer=None, **arguments):
    """A model whose loss is ``curvature / 2 * weight**2``; (model, the data of a fit)."""
    kernel = keras.initializers.Constant(begin)
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer=kernel)
    network = keras.Sequential([keras.Input((1,)), dense])
    model = network if kind is keras.Sequential else kind(network)
    model.compile(optimizer or keras.optimizers.SGD(0.01), "mse", **arguments)
    x = np.full((50, 1), np.sqrt(curvature / 2), np.float32)
    return model, {"x": x, "y": np.zeros((50, 1)), "batch_size": 1, "shuffle": False, "verbose": 0}


def swept(model, fit, *, epochs=2, **options):
    finder = LearningRateFinder(**{"steps": 100, **options})
    model.fit(**fit, epochs=epochs, callbacks=[finder])
    return finder


@pytest.mark.slow
def test_each_step_has_its_own_rate_and_loss():
    finder = swept(*square(steps_per_execution=30))
    assert finder.rates[-1] > 1
    weight, expected = 1.0, []
    for rate in finder.rates:
        expected.append(weight**2)
        weight -= rate * 2 * weight
    np.testing.assert_allclose(finder.losses, expected, rtol=1e-3)
    factors = np.divide(finder.rates[1:], finder.rates[:-1])
    np.testing.assert_allclose(factors, 1e7 ** (1 / 99), rtol=1e-5)


@pytest.mark.slow
def test_no_number_depends_on_the_kind_of_the_model():
    kinds = [(TapeModel, {"steps_per_execution": steps}) for steps in (1, 7, 100)]
    kinds += [(keras.Sequential, {}), (TapeModel, {"run_eagerly": True})]
    schedule = keras.optimizers.SGD(DECAY(0.1, 3, 0.9))
    rows = [square(kind=kind, **arguments) for kind, arguments in kinds]
    rows.append(square(optimizer=schedule, steps_per_execution=7))
    found = [swept(*row) for row in rows]
    for finder in found:
        assert finder.rates == found[0].rates
        np.testing.assert_allclose(finder.losses, found[0].losses, rtol=1e-5)
        assert finder.suggested_rate == pytest.approx(found[0].suggested_rate)


@pytest.mark.slow
@pytest.mark.parametrize("curvature", [0.5, 200.0])
def test_a_tenth_of_the_largest_stable_rate_is_suggested(curvature):
    # Gradient descent is stable up to 2 / curvature.
    finder = swept(*square(curvature=curvature, steps_per_execution=50), max_rate=1e3)
    assert 0.5 < finder.suggested_rate / (0.2 / curvature) < 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TapeModel, keras.Sequential])
def test_half_precision_gives_about_the_same_suggestion(kind):
    with half_precision():
        model, fit = square(kind=kind)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    finder = swept(model, fit)
    assert 0.5 < finder.suggested_rate / 0.1 < 2
    assert model.optimizer.inner_optimizer.learning_rate.numpy() == np.float32(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin", "options", "expected"),
    [
        (1.0, {"max_rate": 1e-2}, "the loss still falls at the end of the sweep. Received: a rate"),
        (1.0, {"min_rate": 5.0}, "the loss falls at no rate of the sweep. Received: a lowest smoo"),
        (0.0, {}, "the loss falls at no rate of the sweep. Received: a lowest smoothed loss of 0"),
    ],
)
def test_a_line_says_why_there_is_no_suggestion(begin, options, expected, capsys):
    finder = swept(*square(begin=begin, steps_per_execution=50), **options)
    assert finder.suggested_rate is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"no learning rate can be suggested: {expected}")
    assert line.endswith(".")
    assert " Expected: " in line


@pytest.mark.slow
def test_data_of_unknown_length_may_end_too_early():
    model, fit = square()

    def rows():
        for x, y in zip(fit["x"], fit["y"], strict=True):
            yield x[None], y[None]

    lines = []
    model.fit(rows(), verbose=0, callbacks=[LearningRateFinder(steps=60, notice=lines.append)])
    assert lines == [
        "no learning rate can be suggested: the loss still falls at the end of the sweep. "
        "Received: a rate of 0.651 there. Expected: more epochs, for all 60 steps of the sweep."
    ]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_sweep():
    model, fit = square()
    model.optimizer.learning_rate = 0.5
    fit["x"][9] = np.nan
    finder = swept(model, fit, epochs=2)
    assert len(finder.losses) == 10
    assert np.isnan(finder.losses[-1])
    assert float(model.optimizer.learning_rate.numpy()) == 0.5
    assert model.steps_trained == 0


class TwoOptimizers(TapeModel):
    """Trains its weight by one of two optimizers, and has two losses."""

    def __init__(self, network):
        super().__init__(network)
        self.first, self.second = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)

    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self(x) ** 2)
        self.first.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.second.build(self.trainable_weights)
        return {"a_loss": loss, "b_loss": 2 * loss}


@pytest.mark.slow
def test_the_optimizer_and_the_loss_can_be_named():
    network, fit = square(kind=keras.Sequential)
    model = TwoOptimizers(network)
    model.compile(optimizer=None)
    finder = swept(model, fit, optimizer="first", monitor="b_loss")
    assert finder.losses[0] == 2.0
    assert 0.05 < finder.suggested_rate < 0.2
    assert [round(float(it.learning_rate.numpy()), 3) for it in (model.first, model.second)] == [
        0.1,
        0.2,
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            "the optimizer of the learning rate is not clear. Received: optimizer=None for a model "
            "with network/optimizer, first, second. Expected: the attribute that holds one of its "
            "optimizers.",
        ),
        (
            {"optimizer": "first"},
            "the loss of the sweep is not clear. Received: monitor=None, and steps with a_loss, "
            "b_loss. Expected: monitor with the name of a loss of single steps.",
        ),
    ],
)
def test_several_optimizers_or_losses_have_to_be_named(options, message):
    network, fit = square(kind=keras.Sequential)
    model = TwoOptimizers(network)
    model.compile(optimizer=None)
    with pytest.raises(UsageError) as error:
        swept(model, fit, **options)
    assert str(error.value) == message
    assert model.get_weights()[0] == 1.0


class OwnOptimizer(keras.Sequential):
    """Its first step makes the variables of an optimizer that Keras does not know."""

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self(data[0]) ** 2)
        weights = self.trainable_weights
        self.own.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


@pytest.mark.slow
def test_a_model_that_is_built_in_its_step_is_refused():
    model = OwnOptimizer([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer=None)
    model.own = keras.optimizers.SGD(0.1, momentum=0.9)
    fit = square()[1]
    with pytest.raises(UsageError) as error:
        swept(model, fit)
    assert str(error.value).startswith(
        "the model cannot be put back. Received: variables that the first step made, such as own/"
    )
    assert model.get_weights()[0] == 1.0
    model.own = keras.optimizers.SGD(0.1, momentum=0.9)
    model.own.build(model.trainable_weights)
    assert swept(model, fit).suggested_rate is not None
    assert [variable.numpy().item() for variable in model.own.variables[:2]] == [0, np.float32(0.1)]


@pytest.mark.parametrize("kind", [TapeModel, keras.Sequential])
def test_what_keeps_the_model_or_a_log_is_refused(kind, tmp_path):
    model, fit = square(kind=kind)
    for callback in (Checkpoint(tmp_path / "a"), StepLogger(tmp_path / "b")):
        with pytest.raises(UsageError) as error:
            model.fit(**fit, epochs=2, callbacks=[LearningRateFinder(steps=100), callback])
        assert str(error.value) == (
            "a LearningRateFinder needs a fit of its own, because its steps are undone. Received: "
            f"{type(callback).__name__} in the same fit. Expected: no callback that saves the "
            "model or writes a log."
        )
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_rate": 0.0}, "Received: min_rate=0.0, max_rate=10.0. Expected: 0 < min_rate < max"),
        ({"min_rate": 1.0, "max_rate": 0.1}, "Received: min_rate=1.0, max_rate=0.1. Expected: 0"),
        ({"max_rate": float("nan")}, "Received: min_rate=1e-06, max_rate=nan. Expected: 0 < min"),
        ({"steps": 19}, "Received: steps=19. Expected: an integer of at least 20."),
        ({"steps": 99.5}, "Received: steps=99.5. Expected: an integer of at least 20."),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(UsageError) as error:
        LearningRateFinder(**options)
    assert message in str(error.value)


def test_too_few_steps_are_refused_with_the_epochs_needed():
    model, fit = square()
    with pytest.raises(UsageError) as error:
        swept(model, fit, epochs=1, steps=120)
    assert str(error.value) == (
        "the data have too few steps for the sweep. Received: 50 steps per epoch, epochs=1. "
        "Expected: 120 steps, so epochs=3."
    )


@pytest.mark.slow
def test_a_plain_model_with_many_steps_per_execution_is_refused():
    optimizer = keras.optimizers.SGD(DECAY(0.5, 3, 0.9))
    model, fit = square(kind=keras.Sequential, optimizer=optimizer, steps_per_execution=10)
    with pytest.raises(UsageError, match=r"a plain keras\.Model does not report each step"):
        swept(model, fit)
    assert float(optimizer.learning_rate) == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TapeModel, keras.Sequential])
def test_after_an_exception_the_model_is_as_it_was(kind):
    model, fit = square(kind=kind)

    def interrupt(batch, logs):
        if batch == 45:
            raise KeyboardInterrupt

    state = np.random.get_state()[1].copy()
    interruption = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(KeyboardInterrupt), LearningRateFinder(steps=50) as finder:
        model.fit(**fit, callbacks=[finder, interruption])
    assert len(finder.losses) == 46
    assert model.get_weights()[0] == 1.0
    assert model.optimizer.iterations.numpy() == 0
    assert model.train_function is None
    np.testing.assert_array_equal(np.random.get_state()[1], state)


class DrawsWhenOpened(keras.utils.PyDataset):
    """Draws from NumPy's generator when Keras looks at its first batch."""

    is_open = False

    def __len__(self):
        return 30

    def __getitem__(self, index):
        if not self.is_open:
            self.is_open = True
            np.random.random()
        return np.ones((1, 1)), np.zeros((1, 1))


@pytest.mark.parametrize("kind", [TapeModel, keras.Sequential])
def test_what_keras_draws_to_open_the_data_is_undone(kind):
    model, data = square(kind=kind)[0], DrawsWhenOpened()
    state = np.random.get_state()[1:3]
    with LearningRateFinder(steps=20, notice=[].append) as finder:
        model.fit(data, verbose=0, callbacks=[finder])
    assert data.is_open
    for part, before in zip(np.random.get_state()[1:3], state, strict=True):
        np.testing.assert_array_equal(part, before)


@pytest.mark.slow
def test_the_sweep_is_written_and_replaced(tmp_path, summaries_of):
    model, fit = square(steps_per_execution=50)
    swept(model, fit, logdir=tmp_path, max_rate=0.1)
    finder = swept(model, fit, logdir=tmp_path, max_rate=100.0)
    directory = tmp_path / "sweeps/learning_rate"
    written = summaries_of(directory)
    plugin, (width, height, png) = written.pop("loss_by_learning_rate")[len(finder.rates) - 1]
    assert (plugin, width, height) == ("images", b"640", b"400")
    assert (directory / "curve.png").read_bytes() == png
    values = {
        tag: [value.item() for _, value in points.values()] for tag, points in written.items()
    }
    np.testing.assert_array_equal(values["learning_rate"], np.float32(finder.rates))
    np.testing.assert_array_equal(values["loss"], np.float32(finder.losses))
    assert list(written["smoothed_loss"]) == list(range(len(values["smoothed_loss"])))


@pytest.mark.slow
def test_a_training_in_the_same_directory_keeps_the_sweep(
    tmp_path, make_model, digits, points_of, summaries_of
):
    model, stream = make_model(), batches(*digits, batch_size=20)
    finder = LearningRateFinder(tmp_path, steps=40)
    model.fit(stream, verbose=0, callbacks=[finder])
    model.fit(stream, verbose=0, callbacks=[StepLogger(tmp_path, every_steps=10, echo=False)])
    assert list(points_of(tmp_path / "train")["loss"]) == [0, 10, 20, 30, 40]
    written = summaries_of(tmp_path / "sweeps/learning_rate")
    assert len(written["learning_rate"]) == len(finder.rates)


@pytest.mark.slow
def test_a_finder_can_be_pickled_and_used_again():
    model, fit = square(steps_per_execution=50)
    finder = swept(model, fit)
    again = pickle.loads(pickle.dumps(finder))
    assert again.losses == finder.losses
    model.fit(**fit, epochs=2, callbacks=[again])
    assert again.losses == finder.losses


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(learning_rate_finder).failed == 0
    assert doctest.testmod(steered_rate).failed == 0
