"""Converts a classifier's scores to probabilities, for predictions, reports and pictures."""

from typing import Any

import numpy as np
import numpy.typing as npt


def probabilities(
    scores: npt.ArrayLike, *, loss: Any, activation: str | None = None
) -> npt.NDArray[np.float64]:
    """Converts a network's scores to class probabilities.

    A crossentropy from logits trains scores whose softmax is the probability. Other losses train
    the probabilities themselves: the minimum of a squared error is the mean of the one-hot labels.
    Such scores may lie outside [0, 1], and their sum may differ from 1. So they are projected on
    the probability simplex: replaced by its nearest point. That point is at least as close to the
    true probabilities as the scores are, and the largest score stays the largest. Scores that are
    probabilities already stay unchanged, up to rounding.

    Args:
        scores: (n, classes).
        loss: the loss that the network was trained with: a ``keras.losses.Loss``, or a name as in
            ``--loss``, "sum_squared_error" or "categorical_crossentropy", which is from logits.
            Any other object counts as a loss of probabilities.
        activation: the name of the last layer's activation; None: linear or unknown. The scores of
            "softmax" and "sigmoid" stay exactly unchanged, unless the loss is from logits.

    Returns:
        float64 (n, classes). Each row's sum is 1, except for a sigmoid, whose scores are
        independent.

    Source of the projection: Duchi and others, "Efficient projections onto the l1-ball for learning
    in high dimensions", 2008. Source of what squared error trains: Richard and Lippmann, "Neural
    network classifiers estimate Bayesian a posteriori probabilities", 1991.

    Example:

    >>> probabilities([[0.75, 0.5, -0.25]], loss="sum_squared_error")
    array([[0.625, 0.375, 0.   ]])
    >>> probabilities([[7.0, 7.0]], loss="categorical_crossentropy")
    array([[0.5, 0.5]])
    """
    scores = np.asarray(scores, np.float64)
    if loss == "categorical_crossentropy" or getattr(loss, "from_logits", False):
        return _softmax(scores)
    if activation in ("softmax", "sigmoid"):
        return scores
    return _projected_on_simplex(scores)


def _softmax(scores):
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _projected_on_simplex(scores):
    descending = -np.sort(-scores, axis=1)
    counts = np.arange(1, scores.shape[1] + 1)
    excesses = (np.cumsum(descending, axis=1) - 1) / counts
    positive = np.count_nonzero(descending > excesses, axis=1)
    return np.maximum(scores - np.take_along_axis(excesses, positive[:, None] - 1, axis=1), 0)
