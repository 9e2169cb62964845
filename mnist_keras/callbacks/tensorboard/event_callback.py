"""Base classes of the callbacks that write a run's TensorBoard files."""

from collections.abc import Iterable

from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.tensorboard import shared_log
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.shared_log import SharedLog

RUN = "."  # The run's directory itself, for all that is not a curve of StepLogger.


class EventCallback(StepCallback):
    """Writes into a run's event files, which all callbacks of a fit share.

    However often the run is resumed, TensorBoard shows each step once. A subclass writes curves
    with ``_write_scalars``, and summaries from TensorBoard's builders with ``_write`` and
    ``_write_once``.

    Args:
        logdir: the run's directory; None: nothing is written.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras.callbacks.tensorboard.event_log import read_scalars
    >>> class Bias(EventCallback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         super().on_epoch_end(epoch, logs)
    ...         self._write_scalars({"bias": float(self.model.layers[0].bias[0])})
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse")
    >>> x, y, logdir = np.zeros((8, 3)), np.ones((8, 1)), tempfile.mkdtemp()
    >>> history = model.fit(x, y, verbose=0, callbacks=[Bias(logdir)])
    >>> read_scalars(logdir, ".")
    {'bias': [(1, 0.5)]}
    """

    chief_only = True

    def __init__(self, logdir: StrPath | None) -> None:
        super().__init__()
        self._logdir = logdir
        self._shared: SharedLog | None = None
        self._log: EventLog | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        EventCallback.close(self)  # An earlier fit may have ended by an exception.
        if self._logdir is not None:
            self._shared = shared_log.join(self._logdir)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Not in on_train_begin: a checkpoint may be restored after it.
        if self._shared is not None and self._log is None:
            self._log = self._shared.begin(step=self.step)
            self.on_log_begin()

    def on_log_begin(self) -> None:
        """Called once per fit, after the files are opened and before the first batch."""

    def flush(self) -> None:
        """Write all points to the disk; may be called from another thread."""
        log = self._log  # The end of training may set self._log to None meanwhile.
        if log is not None:
            log.flush()

    def close(self) -> None:
        """Flush and close the event files, unless other callbacks still write."""
        shared, self._shared, self._log = self._shared, None, None
        if shared is not None:
            shared.leave()

    def _write(self, summary, *, keep=True):
        """Write a summary into the run's directory, at the current step.

        Args:
            summary: a ``Summary`` from one of TensorBoard's builders.
            keep: whether it describes the current weights; a run that resumes at exactly this step
                then keeps it and does not write it again.
        """
        if self._log is not None:
            self._log.summary(RUN, summary, self.step, keep=keep)

    def _write_scalars(self, values, *, subdirectory=RUN, step=None, keep=True):
        """Like `_write`, for scalars {tag: number}, in any subdirectory and at any step."""
        if self._log is not None and values:
            step = self.step if step is None else step
            self._log.scalars(subdirectory, values, step, keep=keep)

    def _write_once(self, summary, *, keep=True):
        """Like `_write`, unless the run already contains the tag."""
        if self._lacks(summary.value[0].tag):
            self._write(summary, keep=keep)

    def _lacks(self, tag):
        """Whether the log is open and the run's directory does not contain the tag."""
        return self._log is not None and not self._log.has(RUN, tag)


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
    >>> from tensorboard.plugins.text.summary_v2 import text_pb
    >>> class Weights(EveryEpochsCallback):
    ...     def summaries(self):
    ...         yield text_pb("kernel", str(self.model.get_weights()[0]))
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
        """The summaries of the model in its current state, an iterable of ``Summary``."""
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        is_due = self.is_due(epoch + 1)
        is_last = epoch + 1 == self.params.get("epochs") or self.model.stop_training
        if is_due or is_last:
            for summary in self.summaries():
                self._write(summary, keep=is_due)
