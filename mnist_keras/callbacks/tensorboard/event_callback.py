"""What the callbacks that write into the TensorBoard files of a run have in common."""

from collections.abc import Iterable

from tensorboard.compat.proto.summary_pb2 import Summary

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.callbacks.tensorboard import shared_log
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.shared_log import SharedLog

RUN = "."  # The run's directory itself: what is not among the curves of StepLogger.


class EventCallback(StepCallback):
    """Writes into the event files of a run, which all the callbacks of a fit share.

    However often the run is resumed, TensorBoard shows each step once. A subclass writes by
    ``_write_scalars`` and, what TensorBoard's own builders give, by ``_write`` and ``_write_once``.

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
        EventCallback.close(self)  # After a fit that was broken off.
        if self._logdir is not None:
            self._shared = shared_log.join(self._logdir)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Only now: in on_train_begin a checkpoint may still be about to be restored.
        if self._shared is not None and self._log is None:
            self._log = self._shared.begin(step=self.step)
            self.on_log_begin()

    def on_log_begin(self) -> None:
        """Called in each fit when the files have been opened, before its first batch."""

    def flush(self) -> None:
        """Bring all points to the disk; may be called from another thread."""
        log = self._log  # Training may end meanwhile, which closes it.
        if log is not None:
            log.flush()

    def close(self) -> None:
        """Flush and close the event files, unless other callbacks still write."""
        shared, self._shared, self._log = self._shared, None, None
        if shared is not None:
            shared.leave()

    def _write(self, summary, *, keep=True):
        """Write a summary into the run's directory, at the present step.

        Args:
            summary: what one of TensorBoard's own builders gives.
            keep: whether it tells of the weights as they are now; a run that is resumed exactly
                here then does not repeat it.
        """
        if self._log is not None:
            self._log.summary(RUN, summary, self.step, keep=keep)

    def _write_scalars(self, values, *, subdirectory=RUN, step=None, keep=True):
        """Write a point of each curve, {tag: number}; as `_write`, or elsewhere, at any step."""
        if self._log is not None and values:
            step = self.step if step is None else step
            self._log.scalars(subdirectory, values, step, keep=keep)

    def _write_once(self, summary, *, keep=True):
        """As `_write`, unless the run has had it before."""
        if self._lacks(summary.value[0].tag):
            self._write(summary, keep=keep)

    def _lacks(self, tag):
        """Whether the run's directory is written into and has nothing of that tag."""
        return self._log is not None and not self._log.has(RUN, tag)


class EveryEpochsCallback(EventCallback):
    """Writes what ``summaries()`` gives at the end of every so many epochs, and of the last one.

    That of the last one, where it is not due otherwise, makes room when the run is extended.

    Args:
        logdir: the run's directory.
        every_epochs: how often, in epochs.

    Raises:
        UsageError: ``every_epochs`` is no whole number of at least 1.

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
        """Whether it is written after so many epochs, the last ones or not."""
        return self._divides(epochs)

    def summaries(self) -> Iterable[Summary]:
        """What there is to show of the model as it is, an iterable of ``Summary``."""
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        is_due = self.is_due(epoch + 1)
        is_last = epoch + 1 == self.params.get("epochs") or self.model.stop_training
        if is_due or is_last:
            for summary in self.summaries():
                self._write(summary, keep=is_due)
