import doctest

import numpy as np
import pytest

from mnist_keras.callbacks.tensorboard import pr_curves
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.pr_curves import PRCurves

LABELS = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.0, 1.0]], np.float32)
TRUE_POSITIVES, FALSE_POSITIVES, _, _, PRECISION, RECALL = range(6)


class Thinking(Exam):
    """Its answers are fixed."""

    def probabilities(self, model, step):
        return PROBABILITIES


@pytest.mark.slow
def test_each_class_has_a_precision_recall_curve(make_model, stream, tmp_path, summaries_of):
    exam = Thinking(LABELS, LABELS, class_names=["a", "b"])
    callbacks = [PRCurves(tmp_path, exam, every_epochs=1)]
    make_model().fit(stream, epochs=2, verbose=0, callbacks=callbacks)
    written = summaries_of(tmp_path)
    assert {tag: {s: p for s, (p, _) in values.items()} for tag, values in written.items()} == {
        "pr_curve/a/pr_curves": {7: "pr_curves", 14: "pr_curves"},
        "pr_curve/b/pr_curves": {7: "pr_curves", 14: "pr_curves"},
    }
    for number, name in enumerate("ab"):
        curve = written[f"pr_curve/{name}/pr_curves"][14][1]
        assert curve.shape == (6, 201)
        for threshold in (0.0, 0.2, 0.5, 0.7, 0.95):
            taken = PROBABILITIES[:, number] >= threshold
            true = (taken & (number == LABELS)).sum()
            at = curve[:, round(threshold * 200)]
            assert at[[TRUE_POSITIVES, FALSE_POSITIVES]].tolist() == [true, taken.sum() - true]
            assert at[RECALL] == true / 2
            if taken.any():
                assert at[PRECISION] == pytest.approx(true / taken.sum())


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(pr_curves).failed == 0
