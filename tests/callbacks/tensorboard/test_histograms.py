import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks.tensorboard import histograms
from mnist_keras.callbacks.tensorboard.histograms import Histograms

pytestmark = pytest.mark.slow


@pytest.fixture
def batch(held_out):
    return held_out[0] / np.float32(255), np.eye(10, dtype=np.float32)[held_out[1]]


def summary(array):
    """(minimum, maximum, count) of numbers, or of a histogram's rows (left, right, count)."""
    if array.ndim == 2 and array.shape[1] == 3:
        return array[0, 0], array[-1, 1], array[:, 2].sum()
    return array.min(), array.max(), array.size


def by_hand(model, x, y):
    with tf.GradientTape() as tape:
        loss = model.loss(y, model(x, training=False))
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    pairs = zip(variables, gradients, strict=True)
    for variable, gradient in pairs:
        yield f"weights/{variable.path}", np.array(variable)
        yield f"gradients/{variable.path}", np.array(gradient)


@pytest.mark.parametrize("kind", ["make_model", "make_plain"])
def test_every_weight_and_its_gradient_have_a_histogram(
    kind, request, stream, batch, tmp_path, summaries_of
):
    model = request.getfixturevalue(kind)()
    model.fit(stream, epochs=2, verbose=0, callbacks=[Histograms(tmp_path, batch, every_epochs=2)])
    written = summaries_of(tmp_path)
    assert {(p, s) for v in written.values() for s, (p, _) in v.items()} == {("histograms", 14)}
    found = {tag: summary(values[14][1]) for tag, values in written.items()}
    expected = {tag: summary(array) for tag, array in by_hand(model, *batch)}
    assert found == {
        tag: (pytest.approx(least, rel=1e-4), pytest.approx(most, rel=1e-4), count)
        for tag, (least, most, count) in expected.items()
    }


def test_without_a_batch_only_weights_have_histograms(make_model, stream, tmp_path, summaries_of):
    make_model().fit(stream, verbose=0, callbacks=[Histograms(tmp_path, every_epochs=1)])
    assert {tag.partition("/")[0] for tag in summaries_of(tmp_path)} == {"weights"}


def test_histograms_do_not_change_the_training(make_model, stream, batch, tmp_path, weights_of):
    def trained(*callbacks):
        model = make_model(optimizer="adam", dropout=0.5)
        stream.epoch = -1
        history = model.fit(stream, epochs=2, verbose=0, callbacks=callbacks).history
        return history, weights_of(model)

    history, weights = trained(Histograms(tmp_path, batch, every_epochs=1))
    expected_history, expected = trained()
    assert history == expected_history
    np.testing.assert_array_equal(weights, expected)


def test_non_finite_values_are_omitted(tmp_path, summaries_of):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="one")], name="all")
    model.set_weights([np.array([[1.0, np.nan], [3.0, np.inf]]), np.array([np.nan, np.nan])])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    model.trainable_variables[0].assign([[1.0, np.nan], [3.0, np.inf]])
    histogram = Histograms(tmp_path, every_epochs=1)
    histogram.set_model(model)
    found = {summary.value[0].tag: summary for summary in histogram.summaries()}
    assert list(found) == ["weights/all/one/kernel"]


def test_a_weight_unused_by_the_loss_has_no_gradient(tmp_path):
    class Idle(keras.Model):
        def __init__(self):
            super().__init__(name="network")
            self.used, self.idle = keras.layers.Dense(1, name="used"), keras.layers.Dense(1)

        def call(self, x):
            self.idle(x)
            return self.used(x)

    model, x = Idle(), np.ones((2, 3), np.float32)
    model.compile(loss="mse")
    model(x)
    histogram = Histograms(tmp_path, (x, np.ones((2, 1), np.float32)), every_epochs=1)
    histogram.set_model(model)
    tags = [summary.value[0].tag for summary in histogram.summaries()]
    assert sum(tag.startswith("weights/") for tag in tags) == 4
    assert [tag for tag in tags if tag.startswith("gradients/")] == [
        "gradients/network/used/kernel",
        "gradients/network/used/bias",
    ]


class OnlyStep(TapeModel):
    """Has a network and no call."""

    def __init__(self):
        super().__init__()
        self.inner = dense()


def dense():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            OnlyStep,
            "the model cannot be called. Received: OnlyStep without a call method. "
            "Expected: a model that evaluate can call.",
        ),
        (
            dense,
            "the loss of the batch cannot be computed. Received: No loss to compute. Provide a "
            "`loss` argument in `compile()`. Expected: a model that was compiled with a loss of "
            "(x, y).",
        ),
    ],
)
def test_without_a_call_or_a_loss_only_weights_are_shown(kind, reason, tmp_path, capsys):
    model = kind()
    model.compile()
    histogram = Histograms(tmp_path, (np.ones((2, 3)), np.ones((2, 1))), every_epochs=1)
    histogram.set_model(model)
    for _ in range(2):
        tags = [summary.value[0].tag for summary in histogram.summaries()]
        assert [tag.partition("/")[0] for tag in tags] == ["weights", "weights"]
    assert capsys.readouterr().err == f"Histograms shows no gradients: {reason}\n"


def test_the_example_is_true():
    assert doctest.testmod(histograms).failed == 0
