"""The model gets an exam's examples as ``evaluate`` gives them, whatever it was trained on."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback
from mnist_keras.callbacks.tensorboard.step_logger import StepLogger
from mnist_keras.data import DatasetDescription, batches

pytestmark = pytest.mark.slow

COUNT = 60
LABELS = (np.arange(COUNT) % 3).astype(np.uint8)
NOISE = np.random.default_rng(0).random((COUNT, 6, 6))
# Brighter in higher classes, so another scale leads to other predictions.
RAW = (255 * (0.3 * LABELS[:, None, None] / 2 + 0.7 * NOISE)).astype(np.uint8)
SCALED = RAW / np.float32(255)
# A network sees 128 as 1.0.
HALF = DatasetDescription(image_shape=(6, 6), classes=3, max_pixel=128)
FULL = DatasetDescription(image_shape=(6, 6), classes=3)


class Accuracy(ExamCallback):
    """Notes the share of correct answers during the fit."""

    values: Any = ()

    def drawn(self):
        answers = self.exam.probabilities(self.model, self.step).argmax(1)
        self.values = [*self.values, float(np.mean(answers == self.exam.labels))]
        return ()


def stream(description=FULL):
    return batches(RAW, LABELS, batch_size=20, description=description)


def data_set(x):
    return tf.data.Dataset.from_tensor_slices((x, np.eye(3)[LABELS])).batch(20)


@dataclasses.dataclass
class Case:
    """What a model trains on, its exam, and the data on which ``evaluate`` gives the same."""

    trained_on: Any
    exam: Any
    evaluated_on: Any
    scales_inside: bool = False


TARGETS = np.eye(3, dtype=np.float32)[LABELS]
CASES = {
    "uint8, scaled by the model": Case(
        lambda: (RAW, TARGETS), lambda: Exam(RAW, LABELS), lambda: (RAW, TARGETS), True
    ),
    "uint8, not scaled": Case(
        lambda: (RAW, TARGETS), lambda: Exam(RAW, LABELS), lambda: (RAW, TARGETS)
    ),
    "uint8 in a data set, scaled by the model": Case(
        lambda: (data_set(RAW),), lambda: Exam(data_set(RAW)), lambda: (data_set(RAW),), True
    ),
    "floats": Case(
        lambda: (SCALED, TARGETS), lambda: Exam(SCALED, LABELS), lambda: (SCALED, TARGETS)
    ),
    "floats up to 255, scaled by the model": Case(
        lambda: (255 * SCALED, TARGETS),
        lambda: Exam(data_set(255 * SCALED)),
        lambda: (255 * SCALED, TARGETS),
        True,
    ),
    "a stream, and its uint8": Case(
        lambda: (stream(),), lambda: Exam(RAW, LABELS), lambda: (stream(),)
    ),
    "a stream of another scale, and its uint8": Case(
        lambda: (stream(HALF),), lambda: Exam(RAW, LABELS), lambda: (stream(HALF),)
    ),
    "a stream, and a data set of its uint8": Case(
        lambda: (stream(),), lambda: Exam(data_set(RAW)), lambda: (stream(),)
    ),
    "a stream, and floats": Case(
        lambda: (stream(),), lambda: Exam(SCALED, LABELS), lambda: (stream(),)
    ),
    "a stream, and a stream": Case(
        lambda: (stream(),), lambda: Exam(stream()), lambda: (stream(),)
    ),
    "a stream that the model scales again": Case(
        lambda: (stream(),), lambda: Exam(RAW, LABELS), lambda: (stream(),), True
    ),
    "floats, and described uint8": Case(
        lambda: (SCALED, TARGETS),
        lambda: Exam(RAW, LABELS, description=FULL),
        lambda: (SCALED, TARGETS),
    ),
}


def compiled(kind, *, scales_inside, **arguments):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Rescaling(1 / 255)] if scales_inside else []
    layers += [keras.layers.Flatten(), keras.layers.Dense(3, activation="tanh")]
    network = keras.Sequential([keras.Input((6, 6)), *layers, keras.layers.Dense(3)])
    model = TapeModel(network) if kind == "TapeModel" else network
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, metrics=["accuracy"], **arguments)
    return model


@pytest.mark.parametrize("kind", ["keras.Model", "TapeModel"])
@pytest.mark.parametrize("name", CASES)
def test_the_accuracy_is_that_of_evaluate(name, kind, tmp_path, capsys):
    case = CASES[name]
    model = compiled(kind, scales_inside=case.scales_inside)
    exam = case.exam()
    seen = Accuracy(tmp_path, exam, every_epochs=1)
    model.fit(*case.trained_on(), epochs=2, verbose=0, callbacks=[StepLogger(None), seen])
    expected = model.evaluate(*case.evaluated_on(), verbose=0, return_dict=True)["accuracy"]
    assert seen.values[-1] == pytest.approx(expected)
    # After the fit a program gets the same.
    answers = exam.probabilities(model, seen.step).argmax(1)
    assert np.mean(answers == LABELS) == pytest.approx(expected)
    assert "Exam" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "exam", "received", "expected"),
    [
        (SCALED, RAW, "uint8", "float32"),
        (RAW, SCALED, "float32", "uint8"),
    ],
)
@pytest.mark.parametrize("kind", ["keras.Model", "TapeModel"])
def test_another_type_than_in_training_is_reported_once(
    kind, data, exam, received, expected, tmp_path, capsys
):
    model = compiled(kind, scales_inside=False)
    exam = Exam(exam, LABELS, name="test images")
    seen = [Accuracy(tmp_path, exam, every_epochs=1) for _ in range(2)]
    model.fit(data, TARGETS, epochs=2, verbose=0, callbacks=[StepLogger(None), *seen])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Exam")]
    assert lines == [
        "Exam: the test images are not of the type of the training data; the model gets them "
        f"unchanged, as from evaluate. Received: {received}. Expected: {expected}, scaled as the "
        "training data are."
    ]


def test_a_model_of_a_strategy_is_asked_as_well(tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = compiled("keras.Model", scales_inside=False)
    seen = Accuracy(tmp_path, Exam(RAW, LABELS), every_epochs=1)
    model.fit(SCALED, TARGETS, verbose=0, callbacks=[seen])
    assert len(seen.values) == 1


def test_validation_on_another_stream_does_not_change_the_scale(tmp_path):
    model = compiled("keras.Model", scales_inside=False)
    seen = Accuracy(tmp_path, Exam(RAW, LABELS), every_epochs=1)
    model.fit(stream(HALF), validation_data=stream(), epochs=2, verbose=0, callbacks=[seen])
    expected = model.evaluate(stream(HALF), verbose=0, return_dict=True)["accuracy"]
    assert seen.values[-1] == pytest.approx(expected)


def test_each_fit_decides_the_scale_anew(tmp_path):
    model = compiled("TapeModel", scales_inside=False)
    seen = Accuracy(tmp_path, Exam(RAW, LABELS), every_epochs=1)
    for data in ((stream(),), (RAW, TARGETS)):
        model.fit(*data, verbose=0, callbacks=[seen])
        expected = model.evaluate(*data, verbose=0, return_dict=True)["accuracy"]
        assert seen.values[-1] == pytest.approx(expected)


def test_a_model_that_runs_eagerly_is_asked_as_well(tmp_path):
    model = compiled("keras.Model", scales_inside=False, run_eagerly=True)
    seen = Accuracy(tmp_path, Exam(RAW, LABELS), every_epochs=1)
    model.fit(stream(), verbose=0, callbacks=[seen])
    expected = model.evaluate(stream(), verbose=0, return_dict=True)["accuracy"]
    assert seen.values == [pytest.approx(expected)]
