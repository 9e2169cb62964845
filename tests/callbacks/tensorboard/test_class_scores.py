import doctest

import numpy as np

from mnist_keras.callbacks.tensorboard import class_scores
from mnist_keras.callbacks.tensorboard.class_scores import ClassScores
from mnist_keras.callbacks.tensorboard.exam import Exam


class Guessing(Exam):
    """Its answers are fixed."""

    def probabilities(self, model, step):
        guesses = [0, 0, 0, 1, 1, 1, 1] if step == 7 else self.labels
        return np.eye(3, dtype=np.float32)[guesses]


def test_each_class_has_precision_and_recall_curves_where_defined(
    make_model, stream, tmp_path, points_of
):
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    callback = ClassScores(tmp_path, Guessing(labels, labels), every_epochs=1)
    make_model().fit(stream, epochs=2, verbose=0, callbacks=[callback])
    assert points_of(tmp_path) == {
        "precision/0": {7: 1.0, 14: 1.0},
        "precision/1": {7: 0.5, 14: 1.0},
        "precision/2": {14: 1.0},
        "recall/0": {7: 0.75, 14: 1.0},
        "recall/1": {7: 1.0, 14: 1.0},
        "recall/2": {7: 0.0, 14: 1.0},
    }


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(class_scores).failed == 0
