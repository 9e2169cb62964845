"""Base classes of the callbacks that show a model's inputs, answers and weights."""

from collections.abc import Iterable, Iterator
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras import _keras
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.tensorboard.event_callback import EveryEpochsCallback
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.loss_probe import ObservedTrainFunction
from mnist_keras.console.terminal import notice
from mnist_keras.data import begun_stream
from mnist_keras.errors import UsageError


class PictureCallback(EveryEpochsCallback):
    """Writes what can be shown of a model, and says once on stderr what cannot.

    A subclass defines ``drawn()``. A `UsageError` in it does not end the training: its text is
    printed, once for each text.

    Args:
        logdir: the run's directory.
        every_epochs: interval in epochs; the last epoch is always written too.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example:

    >>> import contextlib, keras, numpy as np, sys, tempfile
    >>> class Picture(PictureCallback):
    ...     def drawn(self):
    ...         raise UsageError("it is too large. Received: 9. Expected: 8.")
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> picture = Picture(tempfile.mkdtemp(), every_epochs=1)
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     _ = model.fit(np.ones((8, 3)), np.ones(8), epochs=5, verbose=0, callbacks=[picture])
    Picture shows nothing: it is too large. Received: 9. Expected: 8.
    """

    def __init__(self, logdir: StrPath, *, every_epochs: int) -> None:
        super().__init__(logdir, every_epochs=every_epochs)
        self._said: set[str] = set()

    def drawn(self) -> Iterable[Summary]:
        """The summaries of the model in its current state.

        Raises:
            UsageError: it cannot be shown.
        """
        raise NotImplementedError

    def summaries(self) -> Iterator[Summary]:
        try:
            yield from self.drawn()
        except UsageError as error:
            self._say_missing("nothing", error)

    def _say_missing(self, what, reason):
        """Say once that ``what`` is not shown."""
        line = f"{type(self).__name__} shows {what}: {reason}"
        if line not in self._said:
            self._said.add(line)
            notice(line)


class ExamCallback(PictureCallback):
    """A `PictureCallback` that shows a model's answers to an `Exam`.

    Args:
        logdir: the run's directory.
        exam: a `mnist_keras.callbacks.tensorboard.exam.Exam`.
        every_epochs: interval in epochs; the last epoch is always written too.

    Attributes:
        exam: as given.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1, or ``exam`` is not an `Exam`.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    >>> class Confidence(ExamCallback):
    ...     def drawn(self):
    ...         probabilities = self.exam.probabilities(self.model, self.step)
    ...         yield scalar_pb("confidence", float(probabilities.max(1).mean()))
    >>> model = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
    >>> model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    >>> x, y = np.ones((8, 3)), np.arange(8) % 2
    >>> confidence = Confidence(tempfile.mkdtemp(), Exam(x, y), every_epochs=1)
    >>> history = model.fit(x, y, verbose=0, callbacks=[confidence])
    """

    def __init__(self, logdir: StrPath, exam: Exam, *, every_epochs: int) -> None:
        super().__init__(logdir, every_epochs=every_epochs)
        if not isinstance(exam, Exam):
            raise UsageError(
                f"the exam is wrong. Received: {type(exam).__name__}. Expected: Exam(x, y)."
            )
        self.exam = exam

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        begun_stream.forget()

    def summaries(self) -> Iterator[Summary]:
        stream = self.stream if self.fit.counts_steps else begun_stream.first()
        description = None if stream is None else stream.description
        self.exam.trained_on(self.model, description=description, specs=self._batch_specs())
        yield from super().summaries()

    def _batch_specs(self) -> list[Any]:
        """The specs of the batches that the model may train on; none if they are unknown."""
        if self.fit.counts_steps:
            return [] if self.fit.batch_spec is None else [self.fit.batch_spec]
        function: Any = getattr(self.model, "train_function", None)
        if isinstance(function, ObservedTrainFunction):
            function = function.made
        return _keras.traced_batches(function)
