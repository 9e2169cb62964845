import doctest
import gc
import weakref

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.callbacks.tensorboard import exam
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.data import DatasetDescription, batches
from mnist_keras.errors import UsageError
from mnist_keras.probabilities import probabilities


class Counting(keras.layers.Layer):
    """Returns its input, and counts its calls outside a graph."""

    calls = 0

    def call(self, x):
        Counting.calls += 1
        return x


def score_model(*, loss="mse", **compile_arguments):
    """A model that returns its input."""
    model = keras.Sequential([keras.Input((3,)), Counting()])
    model.compile(optimizer="sgd", loss=loss, **compile_arguments)
    return model


SCORES = np.array([[1.0, 1.0, 2.0], [-1.0, 3.0, 1.0], [-1.0, -2.0, 0.0]], np.float32)
LOGITS = np.exp(SCORES) / np.exp(SCORES).sum(-1, keepdims=True)
PROJECTED = [[0, 0, 1], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", PROJECTED),
        (keras.losses.CategoricalCrossentropy(from_logits=True), LOGITS),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LOGITS),
        ([keras.losses.CategoricalCrossentropy(from_logits=True)], LOGITS),
        ("categorical_crossentropy", PROJECTED),
        (keras.losses.CategoricalCrossentropy(), PROJECTED),
    ],
)
def test_the_loss_determines_the_probabilities(loss, expected):
    found = Exam(SCORES, np.arange(3)).probabilities(score_model(loss=loss), step=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_logits_of_any_size_give_probabilities():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    found = Exam(SCORES * 1000, np.arange(3)).probabilities(score_model(loss=loss), step=0)
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    "labels", [[2, 0, 1], [[2], [0], [1]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]], ids=str
)
def test_labels_may_be_integers_or_one_hot(labels):
    assert Exam(SCORES, np.array(labels)).labels.tolist() == [2, 0, 1]


def test_only_the_first_examples_are_used():
    examples = Exam(SCORES, np.arange(3), most=2)
    assert len(examples) == len(examples.images) == len(examples.labels) == 2
    assert examples.probabilities(score_model(), step=0).shape == (2, 3)
    assert examples.class_names(3) == ["0", "1", "2"]
    assert Exam(SCORES, np.arange(3), class_names=["a", "b", "c"]).class_names(3) == ["a", "b", "c"]


def test_a_description_names_the_classes_and_scales_the_images():
    described = DatasetDescription(
        image_shape=(3,), classes=3, class_names=("a", "b", "c"), max_pixel=2
    )
    examples = Exam(np.array([[2, 0, 0]], np.uint8), np.array([0]), description=described)
    assert examples.class_names(3) == ("a", "b", "c")
    (batch,) = examples.batches(score_model())
    assert batch.numpy().tolist() == [[1, 0, 0]]


def test_unused_examples_are_not_kept_in_memory():
    whole = np.zeros((1000, 3), np.float32)
    assert not np.shares_memory(Exam(whole, np.zeros(1000), most=10).images, whole)


def test_described_images_are_scaled_and_predicted_in_batches(make_model, digits):
    images, labels = digits[0].repeat(2, 0)[:1500], digits[1].repeat(2)[:1500]
    model = make_model(dropout=0.5)
    scores = model.predict(batches(images, labels, batch_size=500), verbose=0)
    expected = probabilities(scores, loss="sum_squared_error")
    exam = Exam(images, labels, description=DatasetDescription())
    assert len([*exam.batches(model)]) == 2
    found = exam.probabilities(model, step=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_predictions_are_reused_until_the_next_update():
    model, other = (score_model(run_eagerly=True) for _ in range(2))
    examples = Exam(SCORES, np.arange(3))
    Counting.calls = 0
    for asked, step in [(model, 0), (model, 0), (model, 5), (model, 5), (other, 5), (model, 5)]:
        examples.probabilities(asked, step)
    assert Counting.calls == 4
    model.optimizer.iterations.assign_add(1)
    examples.probabilities(model, 5)
    assert Counting.calls == 5


@pytest.mark.slow
def test_predicting_does_not_change_the_model(make_model, digits):
    model = make_model(dropout=0.5, optimizer="adam")
    model.fit(batches(digits[0][:20], digits[1][:20], batch_size=10), verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(variable) for variable in variables]
    Exam(*digits, most=20).probabilities(model, step=2)
    for array, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(array, np.array(variable))


def test_predictions_use_the_optimizers_averaged_weights():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    optimizer = keras.optimizers.SGD(use_ema=True, ema_momentum=0.5)
    model.compile(optimizer=optimizer, loss="mse")
    optimizer.build(model.trainable_variables)
    model.set_weights([np.array([[0.0, 1.0]])])
    for average in optimizer._model_variables_moving_average:
        average.assign(np.array([[0.75, 0.25]]))
    optimizer.iterations.assign(1)
    found = Exam(np.ones((1, 1), np.float32), np.array([0])).probabilities(model, step=0)
    np.testing.assert_allclose(found, [[0.75, 0.25]])
    np.testing.assert_array_equal(model.get_weights()[0], [[0.0, 1.0]])


def test_an_exam_keeps_no_model_alive(make_model, digits):
    model = make_model()
    examples = Exam(*digits, most=20)
    examples.probabilities(model, step=0)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_a_model_that_is_not_a_classifier_is_refused():
    model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile(optimizer="sgd", loss="mse")
    with pytest.raises(UsageError) as error:
        Exam(SCORES, np.arange(3)).probabilities(model, step=0)
    assert str(error.value) == (
        "the model is not a classifier. Received: outputs of the shape (3, 1). "
        "Expected: one output (3, classes) with at least 2 classes, or one score per example of a "
        "sigmoid or a binary crossentropy."
    )


@pytest.mark.parametrize(("x", "y"), [([], []), ([1.0], [0, 1]), ([1.0], [])])
def test_invalid_examples_are_refused(x, y):
    with pytest.raises(UsageError, match="the examples do not match their classes"):
        Exam(np.array(x), np.array(y))


def test_the_example_is_true():
    assert doctest.testmod(exam).failed == 0
