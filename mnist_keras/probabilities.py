"""Converts a classifier's scores to probabilities, for predictions, reports and pictures."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.errors import UsageError

# The classes and the functions of keras.losses. Their short name is one of the function.
_BINARY_LOSSES = {
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
}


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

    One score per example is that of a binary classifier if it comes from a sigmoid or if the loss
    is a binary crossentropy. It gives the probability of class 1; a score from logits gives its
    sigmoid.

    Args:
        scores: (n, classes); of a binary classifier also (n, 1) or (n,).
        loss: the loss that the network was trained with: a ``keras.losses.Loss``, or a name as in
            ``--loss``, "sum_squared_error" or "categorical_crossentropy", which is from logits.
            Any other object counts as a loss of probabilities.
        activation: the name of the last layer's activation; None: linear or unknown. The scores of
            "softmax" and "sigmoid" stay exactly unchanged, unless the loss is from logits.

    Returns:
        float64 (n, classes), 2 classes for one score per example. Each row's sum is 1, except for
        several scores from a sigmoid, which are independent.

    Raises:
        UsageError: the scores are not those of a classifier.

    Source of the projection: Duchi and others, "Efficient projections onto the l1-ball for learning
    in high dimensions", 2008. Source of what squared error trains: Richard and Lippmann, "Neural
    network classifiers estimate Bayesian a posteriori probabilities", 1991.

    Example:

    >>> probabilities([[0.75, 0.5, -0.25]], loss="sum_squared_error")
    array([[0.625, 0.375, 0.   ]])
    >>> probabilities([[7.0, 7.0]], loss="categorical_crossentropy")
    array([[0.5, 0.5]])
    >>> probabilities([[0.75]], loss=None, activation="sigmoid")
    array([[0.25, 0.75]])
    """
    scores = np.asarray(scores, np.float64)
    is_from_logits = loss == "categorical_crossentropy" or getattr(loss, "from_logits", False)
    is_single = scores.ndim == 1 or scores.shape[1:] == (1,)
    is_binary = is_single and (activation == "sigmoid" or _is_binary(loss))
    if scores.ndim > 2 or (is_single and not is_binary):
        raise not_a_classifier(scores.shape)
    if is_binary:
        scores = scores.reshape(-1, 1)
        if is_from_logits:
            return _softmax(np.hstack([np.zeros_like(scores), scores]))
        return np.hstack([1 - scores, scores]).clip(0, 1)
    if is_from_logits:
        return _softmax(scores)
    if activation in ("softmax", "sigmoid"):
        return scores
    return _projected_on_simplex(scores)


def not_a_classifier(*shapes: tuple[int | None, ...]) -> UsageError:
    """The error for a model with these shapes of outputs.

    >>> str(not_a_classifier((8, 28, 28)))[:73]
    'the model is not a classifier. Received: outputs of the shape (8, 28, 28)'
    """
    return UsageError(
        "the model is not a classifier. Received: outputs of the shape "
        f"{' and '.join(map(str, shapes))}. Expected: one output ({shapes[0][0]}, classes) with at "
        "least 2 classes, or one score per example of a sigmoid or a binary crossentropy."
    )


def _is_binary(loss):
    names = {kind.__name__ for kind in type(loss).__mro__} | {getattr(loss, "__name__", "")}
    return not names.isdisjoint(_BINARY_LOSSES)


def _softmax(scores):
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _projected_on_simplex(scores):
    descending = -np.sort(-scores, axis=1)
    counts = np.arange(1, scores.shape[1] + 1)
    excesses = (np.cumsum(descending, axis=1) - 1) / counts
    positive = np.count_nonzero(descending > excesses, axis=1)
    return np.maximum(scores - np.take_along_axis(excesses, positive[:, None] - 1, axis=1), 0)
