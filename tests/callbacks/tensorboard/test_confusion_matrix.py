import doctest
import io

import numpy as np
from PIL import Image

from mnist_keras.callbacks.tensorboard import confusion_matrix, drawing
from mnist_keras.callbacks.tensorboard.confusion_matrix import (
    ConfusionMatrix,
    count,
    precision_and_recall,
)
from mnist_keras.callbacks.tensorboard.exam import Exam

LABELS = np.array([0, 0, 0, 0, 1, 1, 2])
GUESSES = np.array([0, 0, 0, 1, 1, 1, 1])


class Guessing(Exam):
    """Its answers are fixed."""

    def probabilities(self, model, step):
        return np.eye(3, dtype=np.float32)[GUESSES]


def test_rows_are_true_classes_and_columns_are_predictions():
    counts = count(LABELS, GUESSES, classes=3)
    assert counts.tolist() == [[3, 1, 0], [0, 2, 0], [0, 1, 0]]
    precision, recall = precision_and_recall(counts)
    np.testing.assert_array_equal(precision, [1, 0.5, np.nan])
    np.testing.assert_array_equal(recall, [0.75, 1, 0])


def test_the_picture_shows_counts_recall_and_precision(make_model, stream, tmp_path, summaries_of):
    exam = Guessing(LABELS, LABELS, name="held-out images", class_names=["a", "b", "c"])
    callback = ConfusionMatrix(tmp_path, exam, every_epochs=1)
    make_model().fit(stream, epochs=2, verbose=0, callbacks=[callback])
    written = summaries_of(tmp_path)["confusion_matrix"]
    assert {step: plugin for step, (plugin, _) in written.items()} == {7: "images", 14: "images"}
    found = Image.open(io.BytesIO(written[14][1][2])).convert("RGB")
    expected = drawing.matrix(
        [
            ["3", "1", "", "75"],
            ["", "2", "", "100"],
            ["", "1", "", "0"],
            ["100", "50", "-", ""],
        ],
        [[0.75, 0.25, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        row_names=["a", "b", "c", "precision %"],
        column_names=["a", "b", "c", "recall"],
        title="7 held-out images; row: true class, column: predicted class",
    )
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected.convert("RGB")))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(confusion_matrix).failed == 0
