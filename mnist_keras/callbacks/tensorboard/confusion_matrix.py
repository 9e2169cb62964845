"""The confusion matrix, as a picture in TensorBoard."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback

TAG = "confusion_matrix"


class ConfusionMatrix(ExamCallback):
    """Shows how many examples of each class the model assigns to each class.

    A row is the true class, a column the predicted class. A darker cell is a larger share of its
    row; a cell without examples has no number. The last column holds the recall of each class, the
    last row its precision, in percent. If the model is not a classifier, a line on stderr says so.

    Args:
        logdir: the run's directory.
        exam: a `mnist_keras.callbacks.tensorboard.exam.Exam`.
        every_epochs: interval in epochs; the last epoch is always written too.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras.callbacks.tensorboard.exam import Exam
    >>> model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> images, labels = np.zeros((4, 28, 28), "uint8"), np.arange(4)
    >>> matrix = ConfusionMatrix(tempfile.mkdtemp(), Exam(images, labels), every_epochs=1)
    >>> history = model.fit(images, np.eye(10)[labels], verbose=0, callbacks=[matrix])
    """

    def __init__(self, logdir: StrPath, exam: Exam, *, every_epochs: int = 10) -> None:
        super().__init__(logdir, exam, every_epochs=every_epochs)

    def drawn(self) -> Iterator[Summary]:
        probabilities = self.exam.probabilities(self.model, self.step)
        classes = probabilities.shape[1]
        counts = count(self.exam.labels, probabilities.argmax(-1), classes=classes)
        precision, recall = precision_and_recall(counts)
        names = self.exam.class_names(classes)
        texts = [[str(number or "") for number in row] for row in counts]
        texts = [[*row, percent] for row, percent in zip(texts, _percents(recall), strict=True)]
        texts.append([*_percents(precision), ""])
        shades = np.zeros((classes + 1, classes + 1))
        shades[:-1, :-1] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        picture = drawing.matrix(
            texts,
            shades,
            row_names=[*names, "precision %"],
            column_names=[*names, "recall"],
            title=f"{len(self.exam)} {self.exam.name}; row: true class, column: predicted class",
        )
        yield drawing.image_summary(TAG, picture)


def count(
    labels: npt.NDArray[np.integer], guesses: npt.NDArray[np.integer], *, classes: int
) -> npt.NDArray[np.integer]:
    """The confusion matrix: counts by true class (rows) and predicted class (columns).

    Args:
        labels: the true classes, int (n,).
        guesses: the predicted classes, int (n,).
        classes: the number of classes.

    Returns:
        int (classes, classes).

    >>> count(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.bincount(labels * classes + guesses, minlength=classes**2)
    return counts.reshape(classes, classes)


def precision_and_recall(counts: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float64], ...]:
    """Precision and recall of each class, both float (classes,).

    The precision is nan if the class has no predictions, the recall if it has no examples.

    >>> precision, recall = precision_and_recall(np.array([[1, 1], [0, 0]]))
    >>> precision.tolist(), recall.tolist()
    ([1.0, 0.0], [0.5, nan])
    """
    with np.errstate(invalid="ignore"):
        return tuple(np.diag(counts) / counts.sum(axis) for axis in (0, 1))


def _percents(values):
    return ["-" if np.isnan(value) else f"{100 * value:.0f}" for value in values]
