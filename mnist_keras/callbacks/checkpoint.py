"""Writes checkpoints that survive a kill at any instant, and resumes training from them."""

import io
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import StepCallback, scalars
from mnist_keras.checkpoint import closures, model_variables, random_state, training_state
from mnist_keras.checkpoint.background_writer import BackgroundWriter
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.storage import Disk
from mnist_keras.checkpoint.training_state import Position, TrainingState
from mnist_keras.console import terminal
from mnist_keras.distributed.workers import workers_of
from mnist_keras.errors import MnistKerasError, UsageError


class CheckpointError(MnistKerasError):
    """The last checkpoint of a training could not be written; earlier ones are complete.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> from mnist_keras.checkpoint.storage import Disk
    >>> class FullDisk(Disk):
    ...     def write(self, path, data):
    ...         raise OSError(28, "No space left on device")
    >>> checkpoint = Checkpoint(tempfile.mkdtemp(), disk=FullDisk(), notice=lambda line: None)
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.zeros((2, 3)), np.ones((2, 1))
    >>> model.fit(x, y, verbose=0, callbacks=[checkpoint])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mnist_keras.callbacks.checkpoint.CheckpointError: the last checkpoint could not be written: No \
space left on device: ...
    """


class NotExactError(MnistKerasError):
    """A resumed training would not give the same bits, and ``require_exact`` was set.

    Example:

    >>> NotExactError("resume is not exact: the generator has no seed.").exit_status
    1
    """


class Checkpoint(StepCallback):
    """Saves the complete training state; ``fit`` of a `TapeModel` resumes from the newest one.

    The state is copied between two steps. A background thread writes it, one checkpoint at a time.
    If a write fails, it is reported, earlier checkpoints stay as they are, and the next
    checkpoint tries again. ``fit`` fails only if the last checkpoint of a training fails. A state
    with a weight that is not finite is never written.

    When several workers train together, only the chief writes and reads checkpoints. It sends the
    state to the other workers, which do not need the directory. The number of workers may change
    when a training resumes.

    Files: ``directory/step-NNNNNNNN/`` (N: updates done) with ``state.npz`` (all arrays),
    ``state.json`` (position, names, shapes and dtypes, the callbacks' states) and
    ``manifest.json`` (size and sha256 of each file). `mnist_keras.checkpoint.storage` describes the
    crash protocol: files are written and synced under another name, then renamed. To resume, the
    newest checkpoint is found by listing the directory, and every byte of it is checked. A damaged
    checkpoint is reported, and the one before it is used.

    Args:
        directory: the directory of the checkpoints.
        every_steps: steps between two checkpoints; None: save at the end of each epoch.
        every_minutes: also save at the first execution boundary this many minutes after the last
            checkpoint; may be a fraction. None: never.
        keep: how many of the newest checkpoints are kept.
        keep_best: how many of the best checkpoints by ``monitor`` are kept in addition.
        keep_every_steps: checkpoints at multiples of this step number are never removed; None: no
            such checkpoints.
        monitor: the metric that ranks the checkpoints, such as "val_loss"; read at the end of an
            epoch. None: checkpoints are not ranked.
        mode: "min" or "max": whether lower or higher values of the metric are better.
        resume: whether the first ``fit`` resumes from the newest checkpoint.
        start_from: the checkpoint directory of another training. If this training has no
            checkpoint yet, the first ``fit`` resumes from the newest one there, but keeps the
            learning rate of the present model.
        require_exact: if a resumed training would not give the same bits, raise `NotExactError`
            instead of printing a notice.
        notice: called with each message for the user, one line of text; stderr by default.
        disk: the operations on the disk, a `mnist_keras.checkpoint.storage.Disk`.
        clock: returns the time in seconds.

    Raises:
        UsageError: a number of steps or of checkpoints is not an integer of at least 1,
            ``every_minutes`` is not above 0, or ``mode`` is neither "min" nor "max".
        NotExactError: raised from ``fit``, with ``require_exact``.
        CheckpointError: raised from ``fit`` if the last checkpoint could not be written.
        StateMismatchError: raised from ``fit`` if the newest checkpoint belongs to another model,
            other data or other callbacks.
        LaterFormatError: raised from ``fit`` if a later version of this package wrote it.

    Example:

    >>> import keras, numpy as np, os, tempfile
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> directory = tempfile.mkdtemp()
    >>> x, y = np.zeros((8, 3)), np.ones((8, 1))
    >>> _ = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[Checkpoint(directory)])
    >>> sorted(os.listdir(directory))
    ['step-00000004', 'step-00000008']
    """

    priority = 1

    def __init__(
        self,
        directory: StrPath,
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = 3,
        keep_best: int = 1,
        keep_every_steps: int | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        resume: bool = True,
        start_from: StrPath | None = None,
        require_exact: bool = False,
        notice: Callable[[str], object] = terminal.notice,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if mode not in ("min", "max"):
            raise UsageError(f'mode is wrong. Received: {mode!r}. Expected: "min" or "max".')
        if every_minutes is not None and not every_minutes > 0:
            raise UsageError(
                f"the interval in minutes is wrong. Received: every_minutes={every_minutes!r}. "
                "Expected: a number above 0."
            )
        for name, number in (("keep", keep), ("keep_best", keep_best)):
            if not isinstance(number, int) or number < 1:
                raise UsageError(
                    f"the number of checkpoints is wrong. Received: {name}={number!r}. "
                    "Expected: an integer of at least 1."
                )
        self._trigger = None if every_steps is None else triggers.every(every_steps)
        self._every_s = math.inf if every_minutes is None else 60 * every_minutes
        self._clock = clock
        self._saved_at_s = 0.0
        self._checkpoints = CheckpointDirectory(
            pathlib.Path(directory),
            keep=keep,
            keep_best=keep_best,
            keep_every_steps=keep_every_steps,
            monitor=monitor,
            mode=mode,
            disk=disk,
        )
        self._resume = resume
        self._start_from = None
        if start_from is not None:
            self._start_from = CheckpointDirectory(pathlib.Path(start_from), keep=1)
        self._keeps_learning_rate = False
        self._require_exact = require_exact
        self._inexact: list[str] = []
        self._can_resume = True
        self._numbers: dict[str, float] = {}
        self._notice = notice
        self._peers: Sequence[keras.callbacks.Callback] = [self]
        self._found: TrainingState | None = None
        self._mid_epoch: TrainingState | None = None
        self._writer = BackgroundWriter()
        self._failure: str | None = None
        self._saved: Position | None = None
        self._on_disk_at_s: float | None = None

    @property
    def seconds_since_save(self) -> float | None:
        """Age in seconds of the newest state that this callback wrote to the disk, or None."""
        return None if self._on_disk_at_s is None else self._clock() - self._on_disk_at_s

    @property
    def directory(self) -> pathlib.Path:
        """The directory of the checkpoints."""
        return self._checkpoints.path

    def breaks_execution_at(self, step: int) -> bool:
        """Whether a checkpoint is due after ``step`` updates; an execution ends there."""
        return self._trigger is not None and self._trigger(step)

    def resume_position(self, callbacks: Sequence[keras.callbacks.Callback]) -> Position | None:
        """Read the newest undamaged checkpoint; called by ``fit`` of a `TapeModel`.

        Args:
            callbacks: the callbacks of this fit; their states are saved and restored too.

        Returns:
            Its `mnist_keras.checkpoint.training_state.Position`; None if there is no checkpoint, or
            if an earlier fit has already resumed.
        """
        self._peers = callbacks
        workers = workers_of(self.model)
        files = self._read() if workers.is_chief else None
        self._keeps_learning_rate = bool(
            workers.all_reduce_max([int(self._keeps_learning_rate)])[0]
        )
        if workers.are_several:
            files = _files(workers.broadcast(files and _bytes(files)))
        self._found = files and TrainingState.from_files(files)
        return self._found and self._found.position

    def _read(self):
        """The files of the newest checkpoint, or of ``start_from``'s newest, {name: bytes}."""
        stored = self._checkpoints.newest(self._notice) if self._resume else None
        self._keeps_learning_rate = stored is None and self._start_from is not None
        if stored is None and self._start_from is not None and self._resume:
            stored = self._start_from.newest(self._notice)
        return stored and stored.files

    def accept_position(self) -> None:
        """Restore the random generators as they were when the first fit opened its data."""
        place = self._found and self._found.place
        if place and "began" in place:
            random_state.restore(place["began"])

    def discard_position(self) -> None:
        """Restore nothing: another `Checkpoint` of this fit has a later position."""
        self._found = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._failure = self._saved = self._mid_epoch = None
        self._saved_at_s = self._clock()
        found, self._found = self._found, None
        if found is not None:
            kept = ("learning_rate",) if self._keeps_learning_rate else ()
            training_state.restore(
                found,
                self.model,
                self._peers,
                step=self.fit.step_graph,
                data=self._data_identity(),
                kept=kept,
            )
            self.model.steps_trained = found.position.step
            if workers_of(self.model).is_chief:
                self._tell_where_from(found.position)
            self._find_place(found)
            self._mid_epoch = found if found.position.step_in_epoch > 0 else None
        elif self._resume and not self.fit.counts_steps:
            self._warn_of_the_unused()
        self._resume = False
        self._look_for_obstacles()
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self._mid_epoch is not None:
            training_state.restore_metrics(self._mid_epoch, self.model)
            self._mid_epoch = None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        ends_epoch = self.step_in_epoch == self.params.get("steps")
        if (self.breaks_execution_at(self.step) or self.agreed_request()) and not ends_epoch:
            self._save(self.position, {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        metrics = scalars(logs)
        self._take_result()
        is_last = epoch + 1 == self.params.get("epochs") or self.model.stop_training
        workers = workers_of(self.model)
        improved = workers.is_chief and self._checkpoints.improves(metrics)
        improved = workers.all_reduce_max([int(improved)])[0]
        if self._trigger is None or self.breaks_execution_at(self.step) or is_last or improved:
            self._save(self.position, metrics)

    def local_request(self) -> int:
        """1 if a checkpoint is due by ``every_minutes``, else 0."""
        return int(self._clock() - self._saved_at_s >= self._every_s)

    def save_now(self, position: Position) -> None:
        """Save the state at this batch boundary and wait until it is on the disk.

        Args:
            position: the boundary, a `mnist_keras.checkpoint.training_state.Position`.

        Raises:
            CheckpointError: the checkpoint could not be written.
        """
        self._take_result()
        # Only the chief knows about a failed write, but all workers must capture a state together.
        if workers_of(self.model).all_reduce_max([int(position != self._saved)])[0]:
            self._save(position, {})
        self._take_result()
        self._raise_failure()

    def close(self) -> None:
        """Wait for the write in flight."""
        self._peers = [self]
        self._writer.close()
        self._take_result()

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()
        self._raise_failure()

    @property
    def is_exact(self) -> bool:
        """Whether a training resumed from these checkpoints gives the same bits.

        False once a reason against it is known, and for a plain ``keras.Model``, which starts anew.
        """
        return self._can_resume and not self._inexact

    def _tell_where_from(self, position):
        another = self._start_from if self._keeps_learning_rate else None
        checkpoints = another or self._checkpoints
        step, epochs = position.step, self.params.get("epochs")
        self._notice(f"resumed after {step} steps, from {checkpoints.directory(step)}")
        if epochs is not None and position.epoch >= epochs:
            self._notice(
                f"all epochs are done: nothing is trained. Received: epochs={epochs}, "
                f"{position.epoch} done. Expected: more epochs, or another directory to train anew."
            )

    def _data_identity(self):
        if self.stream is not None:
            return self.stream.identity
        return self.fit.data and self.fit.data.identity

    def _find_place(self, found):
        data, place, position = self.fit.data, found.place, found.position
        if data is None:
            return
        data.report_to(self._report)
        if place is None:
            self._report(
                "an earlier version wrote the checkpoint, without the position in the data"
            )
        else:
            data.resume(place, epoch=position.epoch, step_in_epoch=position.step_in_epoch)

    def _look_for_obstacles(self):
        """Report the reasons, known at the start, why a resumed training may differ."""
        self._can_resume = self.fit.counts_steps
        self._numbers = closures.numbers(self.model) if self.model.run_eagerly else {}
        if not self._can_resume:
            return
        if self.fit.data is not None:
            self.fit.data.report_to(self._report)
            for reason in self.fit.data.obstacles():
                self._report(f"{reason}; give it a seed, or use tf.random.stateless operations")
        step = self.fit.step_graph
        if step is not None:
            for path in model_variables.unsaved(self.model, step):
                self._report(
                    f"the training step uses the variable {path}, which only a closure or a "
                    "global name holds; hold it in an attribute of the model"
                )
            for reason in step.obstacles:
                self._report(reason)

    def _look_for_changes(self):
        """Report the Python numbers of an eager model that a step has changed."""
        if not (self._can_resume and self.model.run_eagerly):
            return
        now = closures.numbers(self.model)
        for name in (name for name in now if now[name] != self._numbers.get(name)):
            self._report(
                f"the attribute {name} of the model changes during training and is not saved; "
                "use a tf.Variable"
            )

    def _report(self, reason):
        """Report once why a resumed training may give other bits."""
        if reason in self._inexact:
            return
        self._inexact.append(reason)
        line = f"resume is not exact: {reason}."
        if self._require_exact:
            raise NotExactError(line)
        if workers_of(self.model).is_chief:
            self._notice(line)

    def _warn_of_the_unused(self):
        steps = self._checkpoints.steps()
        if steps:
            newest = self._checkpoints.directory(steps[-1])
            self._notice(
                f"a plain keras.Model cannot resume: it starts again. Received: {newest}. "
                "Expected: an empty directory, or a TapeModel, which can resume."
            )

    def _raise_failure(self):
        if self._failure is not None:
            raise CheckpointError(f"the last checkpoint could not be written: {self._failure}")

    def _save(self, position, metrics):
        self._take_result()
        self._saved, self._saved_at_s = position, self._clock()
        if not workers_of(self.model).is_chief:
            training_state.take_part_in_capture(self.model)
            return
        self._look_for_changes()
        place = self.fit.data and self.fit.data.capture()
        state = training_state.capture(
            self.model, self._peers, position, step=self.fit.step_graph, place=place
        )
        identity = self._data_identity
        flushes = [peer.flush for peer in self._peers if isinstance(peer, StepCallback)]
        taken_at_s = self._saved_at_s
        self._writer.start(lambda: self._write(state, identity, metrics, flushes, taken_at_s))

    def _write(self, state, identity, metrics, flushes, taken_at_s):
        step = state.position.step
        if not training_state.is_finite(state):
            self._notice(f"no checkpoint is saved at step {step}: a weight is not finite.")
            return
        # If the checkpoint is on the disk, all earlier log entries must be there too.
        for flush in flushes:
            flush()
        # Done in this thread, because reading through all the data is slow.
        state = state.of(identity())
        self._checkpoints.save(step, state.to_files(), metrics)
        self._on_disk_at_s = taken_at_s

    def _take_result(self):
        if not self._writer.is_busy:
            return
        error = self._writer.wait()
        self._failure = error and f"{error.strerror or error}: {self.directory}"
        if error is not None:
            self._saved = None
            self._notice(
                f"a checkpoint could not be written ({self._failure}); trying again later."
            )


def _bytes(files):
    """Pack {name: bytes} into one bytes object."""
    packed = io.BytesIO()
    arrays: dict[str, Any] = {name: np.frombuffer(data, np.uint8) for name, data in files.items()}
    np.savez(packed, **arrays)
    return packed.getvalue()


def _files(packed):
    """Unpack the result of `_bytes`, {name: bytes}; None for None."""
    if packed is None:
        return None
    with np.load(io.BytesIO(packed), allow_pickle=False) as files:
        return {name: files[name].tobytes() for name in files}
