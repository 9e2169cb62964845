"""Precision and recall of each class, as curves in TensorBoard."""

import math
from collections.abc import Iterator

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard.confusion_matrix import count, precision_and_recall
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback


class ClassScores(ExamCallback):
    """Writes ``precision/CLASS`` and ``recall/CLASS``.

    The precision of a class is the share of correct predictions among all predictions of the
    class. The recall is the share of the class's examples that are predicted correctly. If a
    class has no predictions or no examples, the undefined share is not written. If the model is not
    a classifier, a line on stderr says so.

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
    >>> scores = ClassScores(tempfile.mkdtemp(), Exam(images, labels), every_epochs=1)
    >>> history = model.fit(images, np.eye(10)[labels], verbose=0, callbacks=[scores])
    """

    def __init__(self, logdir: StrPath, exam: Exam, *, every_epochs: int = 10) -> None:
        super().__init__(logdir, exam, every_epochs=every_epochs)

    def drawn(self) -> Iterator[Summary]:
        probabilities = self.exam.probabilities(self.model, self.step)
        classes = probabilities.shape[1]
        counts = count(self.exam.labels, probabilities.argmax(-1), classes=classes)
        names = self.exam.class_names(classes)
        scores = dict(zip(("precision", "recall"), precision_and_recall(counts), strict=True))
        for kind, values in scores.items():
            for name, value in zip(names, values, strict=True):
                if not math.isnan(value):
                    yield scalar_pb(f"{kind}/{name}", float(value))
