import contextlib
import doctest
import io
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks.tensorboard import picture_callback
from mnist_keras.callbacks.tensorboard.class_scores import ClassScores
from mnist_keras.callbacks.tensorboard.confusion_matrix import ConfusionMatrix
from mnist_keras.callbacks.tensorboard.event_log import read_scalars
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.pr_curves import PRCurves
from mnist_keras.callbacks.tensorboard.projector import Projector
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).random((12, 4)).astype(np.float32)


def trained(callbacks, *, outputs=3, fits=1):
    """The lines on stderr while a model trains."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs)])
    model.compile(optimizer="sgd", loss="mse")
    lines = io.StringIO()
    with contextlib.redirect_stderr(lines):
        for _ in range(fits):
            model.fit(X, np.zeros((12, outputs)), epochs=2, verbose=0, callbacks=callbacks)
    return [line for line in lines.getvalue().splitlines() if " shows " in line]


def test_a_callback_refuses_examples_that_are_no_exam(tmp_path):
    with pytest.raises(UsageError, match=r"Received: tuple\. Expected: Exam\(x, y\)\."):
        ConfusionMatrix(tmp_path, (X, np.arange(12) % 3))


def test_each_callback_says_once_what_it_does_not_show(tmp_path):
    exam = Exam(X, np.arange(12) % 3)
    used = [kind(tmp_path, exam, every_epochs=1) for kind in (ClassScores, PRCurves)]
    reason = (
        "the model is not a classifier. Received: outputs of the shape (12, 1). Expected: one "
        "output (12, classes) with at least 2 classes, or one score per example of a sigmoid or a "
        "binary crossentropy."
    )
    lines = trained(used, outputs=1, fits=2)
    assert lines == [f"{who} shows nothing: {reason}" for who in ("ClassScores", "PRCurves")]
    assert trained(pickle.loads(pickle.dumps(used)), outputs=1) == []
    assert [*tmp_path.iterdir()] == []


def test_a_class_without_an_output_is_reported(tmp_path):
    matrix = ConfusionMatrix(tmp_path, Exam(X, np.arange(12)), every_epochs=1)
    assert trained([matrix]) == [
        "ConfusionMatrix shows nothing: a class has no output of the model. Received: class 11, 3 "
        "classes of the model. Expected: classes from 0 to 2."
    ]


def test_targets_that_are_not_classes_are_reported(tmp_path):
    for y, received in [
        (X[:, :2], "float32 (12, 2)"),
        (np.linspace(0, 1, 12), "float64 (12,)"),
        (np.full(12, -1), "int64 (12,)"),
        ((X, X[:, 0]), "float32 (12, 4), float32 (12,)"),
        (np.array(["cat"] * 12), "string (12,)"),
    ]:
        matrix = ConfusionMatrix(tmp_path, Exam(X, y), every_epochs=1)
        assert trained([matrix]) == [
            f"ConfusionMatrix shows nothing: the targets are not classes. Received: {received}. "
            "Expected: integers (n,) or (n, 1), or one-hot (n, classes)."
        ]


def test_fewer_or_more_names_than_classes_end_no_training(tmp_path):
    for names, expected in ((["cat"], {"cat", "1", "2"}), ([*"abcdef"], {"a", "b", "c"})):
        path = tmp_path / names[-1]
        exam = Exam(X, np.arange(12) % 3, class_names=names)
        used = [kind(path, exam, every_epochs=1) for kind in (ClassScores, ConfusionMatrix)]
        assert trained([*used, PRCurves(path, exam, every_epochs=1)]) == []
        assert {tag.partition("/")[2] for tag in read_scalars(path, ".")} == expected


class OnlyStep(TapeModel):
    """Has a network and no call."""

    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    def train_step(self, data):
        return {"loss": tf.reduce_mean(self.inner(data[0]))}


def test_a_model_without_a_call_method_is_reported(tmp_path, capsys):
    model, exam = OnlyStep(), Exam(X, np.arange(12) % 3)
    model.compile()
    used = [kind(tmp_path, exam, every_epochs=1) for kind in (ConfusionMatrix, Projector)]
    model.fit(X, np.zeros(12), verbose=0, callbacks=used)
    lines = [line for line in capsys.readouterr().err.splitlines() if " shows " in line]
    assert lines == [
        f"{who} shows nothing: the model cannot be called. Received: OnlyStep without a call "
        "method. Expected: a model that evaluate can call."
        for who in ("ConfusionMatrix", "Projector")
    ]


def test_a_model_without_weights_has_no_points(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Softmax()])
    model.compile(loss="mse")
    callback = Projector(tmp_path, Exam(X, np.arange(12) % 3))
    callback.set_model(model)
    assert list(callback.summaries()) == []
    assert capsys.readouterr().err == (
        "Projector shows nothing: no layer has weights. Received: a model without weights. "
        "Expected: at least one layer with weights.\n"
    )


def test_a_flat_autoencoder_is_not_a_classifier(tmp_path):
    x = np.random.default_rng(0).random((12, 40)).astype(np.float32)
    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(40, "sigmoid")])
    model.compile(optimizer="sgd", loss="binary_crossentropy")
    matrix = ConfusionMatrix(tmp_path, Exam(x, np.arange(12) % 10), every_epochs=1)
    lines = io.StringIO()
    with contextlib.redirect_stderr(lines):
        model.fit(x, x, verbose=0, callbacks=[matrix])
    assert (
        "the model is not a classifier. Received: outputs of the shape (12, 40)" in lines.getvalue()
    )


def test_the_examples_are_true():
    assert doctest.testmod(picture_callback).failed == 0
