"""Precision-recall curves of each class, in TensorBoard's PR curves dashboard."""

from collections.abc import Iterator

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.pr_curve.summary import pb

from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback


class PRCurves(ExamCallback):
    """Writes ``pr_curve/CLASS``: precision and recall of each class at 201 thresholds.

    At threshold t, an example is assigned to the class if its probability is at least t. If the
    model is not a classifier, a line on stderr says so.

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
    >>> curves = PRCurves(tempfile.mkdtemp(), Exam(images, labels), every_epochs=1)
    >>> history = model.fit(images, np.eye(10)[labels], verbose=0, callbacks=[curves])
    """

    def drawn(self) -> Iterator[Summary]:
        probabilities = self.exam.probabilities(self.model, self.step).clip(0, 1)
        names = self.exam.class_names(probabilities.shape[1])
        for number, name in enumerate(names):
            yield pb(f"pr_curve/{name}", self.exam.labels == number, probabilities[:, number])
