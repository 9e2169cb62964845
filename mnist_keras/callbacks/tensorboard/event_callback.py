"""Base classes of the callbacks that write a run's TensorBoard files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.tensorboard import shared_log
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.shared_log import SharedLog
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path

RUN = "."  # The run's directory itself, for all that is not a curve of StepLogger.


class EventCallback(StepCallback):
    """Writes into a run's event files, which all callbacks of a fit share.

    A subclass calls the ``log_`` methods in its hooks, from `on_log_begin` on. TensorBoard shows
    what they log under a tag. They have three arguments in common:

    - ``step``: the number of updates done, or of the batch; by default the callback's ``step``.
    - ``subdirectory``: the directory in ``logdir`` that gets it, a run of its own in TensorBoard;
      "train" and "validation" have the curves of `StepLogger`, "." is ``logdir`` itself.
    - ``keep``: what happens when a training resumes at exactly this step. True: the point stays,
      and it is not written again. That is right for what describes the weights after ``step``
      updates, such as images at the end of an epoch. False: the point is removed, because the
      training will write it again, such as the loss of batch ``step``.

    However often the run is resumed, TensorBoard shows each step once. If a fit neither resumes nor
    continues the training whose points are in ``logdir``, they are moved to ``logdir/earlier-1``,
    and a line on stderr says so. Only one program at a time writes into a directory.

    Args:
        logdir: the run's directory; None: nothing is written.

    Raises:
        UsageError: raised from ``fit``, another program writes into the directory.

    Example: what a network has learned, after each epoch.

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras.callbacks.tensorboard.event_log import read_scalars
    >>> class Learned(EventCallback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         super().on_epoch_end(epoch, logs)
    ...         kernel, bias = self.model.layers[0].get_weights()
    ...         self.log_scalars({"bias": bias[0]})
    ...         self.log_histogram("weights", kernel)
    ...         self.log_image("kernel", kernel.clip(0, 1), description="White is 1.")
    ...         self.log_text("answer", f"After epoch {epoch} the bias is **{bias[0]}**.")
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse")
    >>> x, y, logdir = np.zeros((8, 3)), np.ones((8, 1)), tempfile.mkdtemp()
    >>> history = model.fit(x, y, verbose=0, callbacks=[Learned(logdir)])
    >>> read_scalars(logdir, ".")
    {'bias': [(1, 0.5)]}
    """

    chief_only = True

    def __init__(self, logdir: StrPath | None) -> None:
        super().__init__()
        self._logdir = None if logdir is None else local_path(logdir)
        self._shared: SharedLog | None = None
        self._log: EventLog | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        # An earlier fit may have ended by an exception, and its files may be removed since.
        self._leave(may_be_gone=True)
        if self._logdir is not None:
            self._shared = shared_log.join(self._logdir)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Not in on_train_begin: a checkpoint may be restored after it.
        if self._shared is not None and self._log is None:
            self._log = self._shared.begin(
                step=self.step,
                resumes=self.fit.resumes,
                has_another_model=self.has_another_model,
            )
            self.on_log_begin()

    def on_log_begin(self) -> None:
        """Called once per fit, after the files are opened and before the first batch."""

    def flush(self) -> None:
        """Write all points to the disk; may be called from another thread."""
        log = self._log  # The end of training may set self._log to None meanwhile.
        if log is not None:
            log.flush()

    def on_checkpoint_saved(self, step: int) -> None:
        """Note it in the event files; called from another thread."""
        self._note(SessionLog.CHECKPOINT, step)

    def on_train_end(self, logs: Logs = None) -> None:
        self._note(SessionLog.STOP, self.step)
        super().on_train_end(logs)

    def close(self) -> None:
        """Flush and close the event files, unless other callbacks still write."""
        self._leave()

    def _leave(self, **how: bool) -> None:
        shared, self._shared, self._log = self._shared, None, None
        if shared is not None:
            shared.leave(**how)

    def has_logged(self, tag: str, *, subdirectory: str = RUN) -> bool:
        """Whether the run has a point with this tag, also one from before an interruption."""
        return self._log is not None and self._log.has(subdirectory, tag)

    def log_scalars(
        self,
        values: Mapping[str, float],
        *,
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log a point of each curve, {tag: number}.

        Raises:
            UsageError: a value is not a number.
        """
        if self._log is None or not values:
            return
        try:
            self._log.scalars(subdirectory, values, self._step(step), keep=keep)
        except TypeError:
            raise UsageError(
                f"a scalar is not a number. Received: {dict(values)!r}. Expected: {{tag: number}}."
            ) from None

    def log_image(
        self,
        tag: str,
        image: npt.ArrayLike,
        *,
        description: str = "",
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log an image, (height, width) or (height, width, 1 or 3); uint8, or floats in [0, 1].

        Arguments and errors: `mnist_keras.callbacks.tensorboard.builders.image`.
        """
        if self._log is not None:
            summary = _builders().image(tag, image, description=description)
            self.log_summary(summary, step=step, subdirectory=subdirectory, keep=keep)

    def log_images(
        self,
        tag: str,
        images: npt.ArrayLike,
        *,
        captions: Sequence[str] | None = None,
        columns: int | None = None,
        tile_pixels: int = 84,
        description: str = "",
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log a grid of n images, (n, height, width) or (n, height, width, 1 or 3).

        Arguments and errors: `mnist_keras.callbacks.tensorboard.builders.images`.
        """
        if self._log is not None:
            summary = _builders().images(
                tag,
                images,
                captions=captions,
                columns=columns,
                tile_pixels=tile_pixels,
                description=description,
            )
            self.log_summary(summary, step=step, subdirectory=subdirectory, keep=keep)

    def log_figure(
        self,
        tag: str,
        figure: Any,
        *,
        close: bool = True,
        description: str = "",
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log a figure of matplotlib as an image, and close it.

        Arguments and errors: `mnist_keras.callbacks.tensorboard.builders.figure`.
        """
        if self._log is not None:
            summary = _builders().figure(tag, figure, close=close, description=description)
            self.log_summary(summary, step=step, subdirectory=subdirectory, keep=keep)

    def log_text(
        self,
        tag: str,
        text: str | Sequence[Any],
        *,
        description: str = "",
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log a text in Markdown, or strings as the rows of a table.

        Arguments and errors: `mnist_keras.callbacks.tensorboard.builders.text`.
        """
        if self._log is not None:
            summary = _builders().text(tag, text, description=description)
            self.log_summary(summary, step=step, subdirectory=subdirectory, keep=keep)

    def log_audio(
        self,
        tag: str,
        audio: npt.ArrayLike,
        *,
        sample_rate: int,
        description: str = "",
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log a sound, (samples,) or (samples, channels); int16, or floats in [-1, 1].

        Arguments and errors: `mnist_keras.callbacks.tensorboard.builders.audio`.
        """
        if self._log is not None:
            summary = _builders().audio(
                tag, audio, sample_rate=sample_rate, description=description
            )
            self.log_summary(summary, step=step, subdirectory=subdirectory, keep=keep)

    def log_histogram(
        self,
        tag: str,
        values: npt.ArrayLike,
        *,
        buckets: int = 30,
        description: str = "",
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log the distribution of numbers, an array of any shape.

        Arguments and errors: `mnist_keras.callbacks.tensorboard.builders.histogram`.
        """
        if self._log is not None:
            summary = _builders().histogram(tag, values, buckets=buckets, description=description)
            self.log_summary(summary, step=step, subdirectory=subdirectory, keep=keep)

    def log_summary(
        self,
        summary: Summary,
        *,
        step: int | None = None,
        subdirectory: str = RUN,
        keep: bool = True,
    ) -> None:
        """Log a ``Summary`` from one of TensorBoard's builders, such as ``mesh_pb``."""
        if self._log is not None:
            self._log.summary(subdirectory, summary, self._step(step), keep=keep)

    def _note(self, status, step):
        log = self._log  # Another thread may set it to None meanwhile.
        if log is not None:
            log.note(status, step)

    def _step(self, step):
        return self.step if step is None else step


def _builders():
    # Imported at its first use: Pillow and the builders of TensorBoard take long.
    from mnist_keras.callbacks.tensorboard import builders

    return builders


class EveryEpochsCallback(EventCallback):
    """Writes the results of ``summaries()`` every ``every_epochs`` epochs and after the last epoch.

    If only the end of training made the last summary due, extending the run removes that summary.

    Args:
        logdir: the run's directory.
        every_epochs: interval in epochs.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras.callbacks.tensorboard import builders
    >>> class Weights(EveryEpochsCallback):
    ...     def summaries(self):
    ...         yield builders.histogram("kernel", self.model.get_weights()[0])
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> weights = Weights(tempfile.mkdtemp(), every_epochs=10)
    >>> history = model.fit(x, y, verbose=0, callbacks=[weights])
    """

    def __init__(self, logdir: StrPath, *, every_epochs: int) -> None:
        super().__init__(logdir)
        self._divides = triggers.every(every_epochs, of="epochs")

    def is_due(self, epochs: int) -> bool:
        """Whether a summary is due after ``epochs`` epochs, even if they are not the last."""
        return self._divides(epochs)

    def summaries(self) -> Iterable[Summary]:
        """The summaries of the model in its current state, an iterable of ``Summary``.

        `mnist_keras.callbacks.tensorboard.builders` makes them of images, text and others.
        """
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        is_due = self.is_due(epoch + 1)
        is_last = epoch + 1 == self.params.get("epochs") or self.model.stop_training
        if is_due or is_last:
            for summary in self.summaries():
                self.log_summary(summary, keep=is_due)
