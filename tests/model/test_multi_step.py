import doctest
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.data import batches
from mnist_keras.model import multi_step


def epochs_of(stream):
    """The stream as an endless tf.data.Dataset of unknown length, epoch after epoch."""

    def generate():
        for stream.epoch in itertools.count():
            yield from stream

    return tf.data.Dataset.from_generator(generate, output_signature=stream.element_spec)


def run(model, digits, directory, capsys, *, as_stream=True):
    """Everything that a run prints, logs and saves."""
    stream = batches(*digits, batch_size=30, shuffle=True, seed=5)
    data = {"x": stream}
    if not as_stream:
        data = {"x": epochs_of(stream), "steps_per_epoch": len(stream)}
    history = model.fit(
        **data,
        epochs=2,
        verbose=0,
        callbacks=[
            StepLogger(directory, every_steps=5),
            Checkpoint(directory / "checkpoints", every_steps=13, keep=100),
        ],
    )
    files = sorted((directory / "checkpoints").glob("*/state.npz"))
    arrays = {path.parent.name: dict(np.load(path)) for path in files}
    return capsys.readouterr().out, history.history, arrays


def slow(value):
    """A value excluded from the short test run."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def first():
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("as_stream", [True, slow(False)])
@pytest.mark.parametrize(
    "steps_per_execution", [1, slow(7), slow(34), 100, slow(300), slow("auto")]
)
def test_no_number_depends_on_the_steps_per_execution(
    steps_per_execution, as_stream, first, make_model, digits, tmp_path, capsys, points_of
):
    model = make_model(optimizer="adam", steps_per_execution=steps_per_execution, dropout=0.5)
    printed, history, arrays = run(model, digits, tmp_path, capsys, as_stream=as_stream)
    points = points_of(tmp_path / "train")
    del points["examples_per_second"]
    expected = first.setdefault(as_stream, (printed, history, arrays, points))

    assert printed == expected[0]
    assert history == expected[1]
    assert points == expected[3]
    assert list(arrays) == [f"step-{n:08d}" for n in (13, 26, 39, 52, 65, 68)]
    for name, state in arrays.items():
        for key, value in state.items():
            np.testing.assert_array_equal(value, expected[2][name][key], err_msg=f"{name} {key}")


@pytest.mark.slow
def test_the_logged_loss_is_the_batch_loss_before_its_update(
    make_model, digits, tmp_path, points_of
):
    images, labels = digits
    model = make_model(steps_per_execution=10)
    expected = {}
    twin = make_model()
    for step, (x, y) in enumerate(batches(images, labels, batch_size=100)):
        expected[step] = float(twin.loss(y, twin(x)))
        twin.train_on_batch(x, y)
    model.fit(
        batches(images, labels, batch_size=100),
        verbose=0,
        callbacks=[StepLogger(tmp_path, every_steps=3)],
    )
    points = points_of(tmp_path / "train")["loss"]
    assert list(points) == [0, 3, 6, 9]
    for step, value in points.items():
        assert value == pytest.approx(expected[step], rel=1e-5)


@pytest.mark.slow
def test_data_that_ends_early_ends_the_epoch(make_model, digits):
    data = tf.data.Dataset.from_tensor_slices(
        (digits[0] / np.float32(255), tf.one_hot(digits[1], 10))
    )
    seven = data.batch(100).take(7).filter(lambda *_: True)
    model = make_model(steps_per_execution=5)
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(seven, epochs=2, verbose=0)
    assert model.steps_trained == 14


def test_stop_training_ends_at_the_next_boundary(make_model, digits):
    import keras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    model = make_model(steps_per_execution=4)
    model.fit(batches(*digits, batch_size=100), epochs=3, verbose=0, callbacks=[Stop()])
    assert model.steps_trained == 4


@pytest.mark.slow
def test_validation_does_not_shorten_an_epoch_of_unknown_length(make_model, digits):
    images = digits[0] / np.float32(255)
    data = tf.data.Dataset.from_tensor_slices((images, tf.one_hot(digits[1], 10))).batch(100)
    model = make_model(steps_per_execution=4)
    unknown = data.filter(lambda *_: True)
    model.fit(unknown, epochs=3, verbose=0, validation_data=data.take(2))
    assert model.steps_trained == 30


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [3, 100])
def test_evaluate_and_predict_do_not_depend_on_steps_per_execution(
    steps_per_execution, make_model, digits
):
    stream = batches(*digits, batch_size=150)
    one, many = make_model(), make_model(steps_per_execution=steps_per_execution)
    assert many.evaluate(stream, verbose=0) == one.evaluate(stream, verbose=0)
    np.testing.assert_array_equal(many.predict(stream, verbose=0), one.predict(stream, verbose=0))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(multi_step).failed == 0


class VectorLogs(TapeModel):
    """Returns the loss of each example of a batch, of which the last one is smaller."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            losses = keras.losses.mean_squared_error(y, self(x))
        gradients = tape.gradient(losses, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"losses": losses}


@pytest.mark.parametrize("steps_per_execution", [1, 3, "auto"])
def test_logs_may_differ_in_size_from_step_to_step(steps_per_execution):
    keras.utils.set_random_seed(0)
    model = VectorLogs()
    model.compile(keras.optimizers.SGD(1e-4), steps_per_execution=steps_per_execution)
    x = np.arange(10.0, dtype=np.float32)[:, None]
    sizes = []
    see = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: sizes.append(np.size(logs["losses"]))
    )
    model.fit(x, x, batch_size=4, shuffle=False, verbose=0, callbacks=[see])
    assert model.steps_trained == 3
    assert sizes[-1] == 2
