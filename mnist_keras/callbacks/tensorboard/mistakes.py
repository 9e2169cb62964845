"""The misclassified images, as a picture in TensorBoard."""

from collections.abc import Iterator

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.picture_callback import ExamCallback

TAG = "mistakes"


class Mistakes(ExamCallback):
    """Shows the misclassified images; the most confident mistake comes first.

    The caption gives the true class, and the predicted class with its probability. If the examples
    are not images or the model is not a classifier, a line on stderr says so.

    Args:
        logdir: the run's directory.
        exam: a `mnist_keras.callbacks.tensorboard.exam.Exam`; of several inputs, the one that looks
            like images is shown.
        every_epochs: interval in epochs; the last epoch is always written too.
        most: the maximum number of images.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras.callbacks.tensorboard.exam import Exam
    >>> model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> images, labels = np.zeros((4, 28, 28), "uint8"), np.arange(4)
    >>> mistakes = Mistakes(tempfile.mkdtemp(), Exam(images, labels))
    >>> _ = model.fit(images, np.eye(10)[labels], verbose=0, callbacks=[mistakes])
    """

    def __init__(
        self, logdir: StrPath, exam: Exam, *, every_epochs: int = 10, most: int = 25
    ) -> None:
        super().__init__(logdir, exam, every_epochs=every_epochs)
        self._most = most

    def drawn(self) -> Iterator[Summary]:
        pictures = self.exam.pictures
        probabilities = self.exam.probabilities(self.model, self.step)
        guesses, labels = probabilities.argmax(-1), self.exam.labels
        wrong = np.flatnonzero(guesses != labels)
        confidence = probabilities[wrong, guesses[wrong]]
        order = np.argsort(-confidence, kind="stable")[: self._most]
        shown, names = wrong[order], self.exam.class_names(probabilities.shape[1])
        if len(shown):
            captions = [
                f"is {names[labels[i]]}\nnot {names[guess]}: {probabilities[i, guess]:.0%}"
                for i, guess in zip(shown, guesses[shown], strict=True)
            ]
            picture = drawing.grid(drawing.gray(pictures[shown]), captions, columns=5)
        else:
            picture = drawing.note("no mistakes")
        description = (
            f"{len(wrong)} of {len(labels)} {self.exam.name} are classified wrongly. The most "
            "confident mistakes come first, each with its class and the predicted class."
        )
        yield drawing.image_summary(TAG, picture, description=description)
