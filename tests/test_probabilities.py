"""One rule for probabilities: prediction, report, pictures and the page to draw on agree."""

import doctest
import json
import sys
import types

import keras
import numpy as np
import pytest

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras import probabilities as module
from mnist_keras.app.config import RunConfig
from mnist_keras.app.model_file import model_file
from mnist_keras.app.predict import predict
from mnist_keras.app.report import run_facts
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.callbacks.tensorboard import mistakes
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.mistakes import Mistakes
from mnist_keras.data import write_idx
from mnist_keras.errors import UsageError
from mnist_keras.probabilities import probabilities
from tests.test_examples import EXAMPLES

SQUARED, CROSS = "sum_squared_error", "categorical_crossentropy"
SCORES = np.zeros(10, np.float32)
SCORES[:3] = (0.75, 0.5, -0.25)
SOFTMAX = np.exp(SCORES) / np.exp(SCORES).sum()
SIGMOID = 1 / (1 + np.exp(-SCORES))


def network(activation):
    """A network whose scores are SCORES for every image."""
    scores = keras.layers.Dense(10, activation, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), scores])
    scores.bias.assign(SCORES)
    return model


def printed(run, capsys):
    """The probability that ``--mode=predict`` prints."""
    write_idx(run.path / "digit", np.zeros((1, 28, 28), np.uint8))
    loss = run.stored_recipe()["loss"]
    predict(
        RunConfig(
            mode="predict",
            logdir=str(run.path.parent),
            run_name="run",
            loss=loss,
            paths=(str(run.path / "digit"),),
            json=True,
        )
    )
    return json.loads(capsys.readouterr().out)["digits"][0]["probability"]


def reported(run, exam, model):
    facts = run_facts(run, RunConfig(), model=model, exam=exam, summary={"steps": 0})
    return facts["mistakes"]["worst"][0]["probability"]


def pictured(run, exam, model, monkeypatch):
    """The probability of the caption of a mistake, in percent."""
    captions = []
    drawing = types.SimpleNamespace(**vars(mistakes.drawing))
    drawing.grid = lambda images, texts, **_: captions.extend(texts)
    drawing.image_summary = lambda *_, **__: None
    monkeypatch.setattr(mistakes, "drawing", drawing)
    callback = Mistakes(run.path, exam)
    callback.set_model(model)
    list(callback.summaries())
    return captions[0].rpartition(" ")[2]


def answered(run, monkeypatch):
    """The probabilities of the page to draw on."""
    monkeypatch.syspath_prepend(EXAMPLES / "draw")
    import reading

    path, loss = reading.find_model(run.path)
    found = reading.Reader(path, loss=loss)._probabilities(np.zeros((1, 28, 28), np.uint8))
    sys.modules.pop("reading")
    return found[0]


@pytest.mark.parametrize(
    ("loss", "activation", "expected"),
    [
        (SQUARED, None, [0.625, 0.375, 0]),
        (SQUARED, "softmax", SOFTMAX[:3]),
        (SQUARED, "sigmoid", SIGMOID[:3]),
        (CROSS, None, SOFTMAX[:3]),
    ],
)
def test_prediction_report_pictures_and_page_agree(
    loss, activation, expected, tmp_path, capsys, monkeypatch
):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.store_recipe(RunConfig(loss=loss, run_name="run"))
    model = TapeModel(network(activation))
    losses = {SQUARED: SumSquaredError(), CROSS: keras.losses.CategoricalCrossentropy(True)}
    model.compile(loss=losses[loss])
    run.write_model(model_file(model.network))
    exam = Exam(np.zeros((1, 28, 28), np.uint8), np.array([1]))
    everywhere = exam.probabilities(model, 0)[0]
    np.testing.assert_allclose(everywhere[:3], expected, rtol=1e-6)
    np.testing.assert_allclose(answered(run, monkeypatch), everywhere, rtol=1e-6)
    assert printed(run, capsys) == pytest.approx(expected[0], abs=1e-6)
    assert reported(run, exam, model) == pytest.approx(expected[0], rel=1e-6)
    assert pictured(run, exam, model, monkeypatch) == f"{expected[0]:.0%}"


def test_scores_of_squared_error_become_the_nearest_probabilities():
    chance = np.random.default_rng(0)
    scores = chance.normal(0.1, 0.4, (50, 10))
    found = probabilities(scores, loss=SQUARED)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found.min() >= 0
    np.testing.assert_array_equal(found.argmax(1), scores.argmax(1))
    others = chance.dirichlet(np.full(10, 0.3), (200, 50))
    distance = ((found - scores) ** 2).sum(1)
    assert (((others - scores) ** 2).sum(2) >= distance).all()
    np.testing.assert_allclose(probabilities(others[0], loss=SQUARED), others[0], atol=1e-12)


def test_logits_of_any_size_become_their_softmax():
    assert probabilities([[1000.0, 1000.0, 0.0]], loss=CROSS).tolist() == [[0.5, 0.5, 0]]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_from_an_activation_stay_unchanged(activation):
    scores = [[0.75, 0.5, 0.125]]
    assert probabilities(scores, loss=None, activation=activation).tolist() == scores


def test_a_loss_from_logits_overrides_the_activation():
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    assert probabilities([[7.0, 7.0]], loss=loss, activation="sigmoid").tolist() == [[0.5, 0.5]]


BINARY = keras.losses.BinaryCrossentropy
SIGMOID_OF_2 = 1 / (1 + np.exp(-2))


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize(
    ("scores", "loss", "activation", "expected"),
    [
        ([0.25, 1.0], None, "sigmoid", [0.25, 1.0]),
        ([0.25, 1.0], keras.losses.MeanSquaredError(), "sigmoid", [0.25, 1.0]),
        ([0.25, 1.5], BINARY(), None, [0.25, 1.0]),
        ([0.25, 1.0], keras.losses.get("binary_crossentropy"), "linear", [0.25, 1.0]),
        ([0.0, 2.0], BINARY(from_logits=True, name="mine"), None, [0.5, SIGMOID_OF_2]),
        ([-2000.0, 2000.0], keras.losses.BinaryFocalCrossentropy(from_logits=True), None, [0, 1]),
        ([0.0, 2.0], BINARY(from_logits=True), "sigmoid", [0.5, SIGMOID_OF_2]),
    ],
)
def test_one_score_of_a_binary_classifier_gives_two_classes(
    scores, loss, activation, expected, shape
):
    found = probabilities(np.reshape(scores, shape), loss=loss, activation=activation)
    expected = np.array(expected)
    np.testing.assert_allclose(found, np.stack([1 - expected, expected], 1), atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "loss", "activation"),
    [
        ((3, 1), keras.losses.MeanSquaredError(), "linear"),
        ((3,), None, None),
        ((3, 1), keras.losses.SparseCategoricalCrossentropy(from_logits=True), None),
        ((3, 8, 8), BINARY(), "sigmoid"),
        ((3, 8, 8, 1), BINARY(from_logits=True), None),
    ],
)
def test_outputs_that_are_not_of_a_classifier_are_refused(shape, loss, activation):
    with pytest.raises(UsageError) as error:
        probabilities(np.zeros(shape), loss=loss, activation=activation)
    assert str(error.value) == (
        f"the model is not a classifier. Received: outputs of the shape {shape}. Expected: one "
        "output (3, classes) with at least 2 classes, or one score per example of a sigmoid or a "
        "binary crossentropy."
    )


def test_the_earlier_path_has_the_same_functions():
    from mnist_keras import prediction
    from mnist_keras.photos.reading import Reading, read

    found = prediction.probabilities, prediction.read, prediction.Reading, prediction.predict
    assert found == (probabilities, read, Reading, predict)


def test_the_examples_are_true():
    assert doctest.testmod(module).failed == 0
