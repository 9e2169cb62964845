"""Writes checkpoints that survive a kill at any instant, and resumes training from them."""

import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Literal

import keras

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks import checkpoint_lines
from mnist_keras.callbacks.base import StepCallback, scalars
from mnist_keras.callbacks.exactness import Exactness, NotExactError
from mnist_keras.callbacks.plain_fit import PlainFit
from mnist_keras.callbacks.resumption import Resumption
from mnist_keras.checkpoint import (
    backends,
    ranking,
    stored_weights,
    training_state,
    worker_places,
)
from mnist_keras.checkpoint.arithmetic import arithmetic
from mnist_keras.checkpoint.background_writer import BackgroundWriter
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.storage import Disk
from mnist_keras.checkpoint.training_state import Position, TrainingState
from mnist_keras.console import terminal
from mnist_keras.distributed.workers import workers_of
from mnist_keras.errors import MnistKerasError, UsageError

__all__ = ["Checkpoint", "CheckpointError", "NotExactError"]


class CheckpointError(MnistKerasError):
    """The last checkpoint of a training was not written, or earlier ones could not be moved.

    All other checkpoints are complete.

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


class Checkpoint(StepCallback):
    """Saves the complete training state; ``fit`` of a `TapeModel` resumes from the newest one.

    With JAX and PyTorch, where there is no `TapeModel`, ``fit`` of any ``keras.Model`` resumes:
    exactly for arrays and torch loaders, else with a line that says why it is not exact.

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
        mode: "min" or "max": whether lower or higher values of the metric are better. "auto" asks
            the metric, as Keras's own callbacks do; any loss is best at its minimum.
        resume: whether the first ``fit`` resumes from the newest checkpoint, and the next ``fit``
            with this object if one was interrupted, as in a notebook. A training that does not
            resume, and begins at step 0, first moves the checkpoints that it finds into
            ``directory/earlier-N``, where they can be loaded; a line says so.
        start_from: the checkpoint directory of another training. If this training has no
            checkpoint yet, the first ``fit`` takes the weights and the optimizer's state from the
            newest one there. The learning rate is the present model's, and its schedule,
            the epochs and the steps begin at 0. Which checkpoint it was is recorded in
            ``started_from.json``: a training that is killed before its own first checkpoint begins
            with the same one again.
        use_new_learning_rate: what a resume does if the program's learning rate is no longer the
            one that the training began with. True: it uses the program's. False: it uses the
            checkpoint's, and prints a line. A rate that a callback has changed is restored.
        require_exact: if a resumed training would not give the same bits, raise `NotExactError`
            instead of printing a notice.
        notice: called with each message for the user, one line of text; stderr by default.
        disk: the operations on the disk, a `mnist_keras.checkpoint.storage.Disk`.
        clock: returns the time in seconds.

    Raises:
        UsageError: a number of steps or of checkpoints is not an integer of at least 1,
            ``every_minutes`` is not above 0, or ``mode`` is unknown; raised from ``fit`` if "auto"
            cannot tell the mode.
        NotExactError: raised from ``fit``, with ``require_exact``.
        CheckpointError: raised from ``fit`` if the last checkpoint could not be written, or if
            those of an earlier training could not be moved.
        StateMismatchError: raised from ``fit`` if the newest checkpoint belongs to another model,
            other data or other callbacks.
        LaterFormatError: raised from ``fit`` if a later version of this package wrote it.
        UsageError, DamagedError, MnistKerasError: raised from ``fit`` if ``start_from`` has no
            checkpoint, only damaged ones, or no longer the one that the training began with.

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

    A program that predicts loads the weights, into a model that need not be compiled:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> Checkpoint(directory).load(model)
    8
    >>> Checkpoint(directory, monitor="loss").load_best(model)
    8
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
        mode: Literal["auto", "min", "max"] = "auto",
        resume: bool = True,
        start_from: StrPath | None = None,
        use_new_learning_rate: bool = False,
        require_exact: bool = False,
        notice: Callable[[str], object] = terminal.notice,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if mode not in ranking.MODES:
            raise UsageError(
                f'the mode is unknown. Received: {mode!r}. Expected: "auto", "min" or "max".'
            )
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
            directory,
            keep=keep,
            keep_best=keep_best,
            keep_every_steps=keep_every_steps,
            monitor=monitor,
            mode=None if mode == "auto" else mode,
            disk=disk,
            notice=notice,
        )
        self._resume = resume
        self._exactness = Exactness(is_required=require_exact, tell=self._tell, notice=notice)
        self._resumption = Resumption(
            self._checkpoints,
            start_from=None if start_from is None else CheckpointDirectory(start_from, keep=1),
            use_new_learning_rate=use_new_learning_rate,
            exactness=self._exactness,
            tell=self._tell,
            notice=notice,
        )
        self._was_interrupted = self._is_open = False
        self._can_resume = True
        self._begins_anew = False
        self._plain_fit: PlainFit | None = None
        self._notice = notice
        self._has_checked_metrics = False
        self._peers: Sequence[keras.callbacks.Callback] = [self]
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
        return self.saves_at(step)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is due after ``step`` updates by ``every_steps``."""
        return self._trigger is not None and self._trigger(step)

    def resume_position(self, callbacks: Sequence[keras.callbacks.Callback]) -> Position | None:
        """Read the newest undamaged checkpoint; called by ``fit`` of a `TapeModel`.

        Args:
            callbacks: the callbacks of this fit; their states are saved and restored too.

        Returns:
            Its `mnist_keras.checkpoint.training_state.Position`; past the last epoch if the
            training was stopped early. None if there is no checkpoint, or if an earlier fit with
            this object has ended.
        """
        self._peers = callbacks
        if not self._resume:
            return None
        self.fit.resumes = True
        return self._resumption.find(self.model, callbacks, epochs=self.params["epochs"])

    def accept_position(self) -> None:
        """Restore the random generators as they were when the first fit opened its data."""
        self._resumption.restore_generators()

    def discard_position(self) -> None:
        """Restore nothing: another `Checkpoint` of this fit has a later position."""
        self._resumption.discard()

    def on_train_begin(self, logs: Logs = None) -> None:
        self._find_plain_fit()
        if self._plain_fit is None:
            self._begin_fit(logs)
        else:
            self._plain_fit.call_last(lambda: self._begin_fit(logs))

    def _begin_fit(self, logs):
        self._failure = self._saved = self._mid_epoch = None
        self._saved_at_s = self._clock()
        self._has_checked_metrics = False
        self._choose_mode()
        if self._is_open:  # Keras's own fit has raised an exception.
            self._resumption.note_rates(self.model)
        found = self._resumption.restore(
            self.model,
            self._peers,
            fit=self.fit,
            epochs=self.params.get("epochs"),
            was_interrupted=self._was_interrupted,
        )
        if found is not None:
            self._mid_epoch = found if found.position.step_in_epoch > 0 else None
            if workers_of(self.model).is_chief:
                self._checkpoints.tidy(found.position.step)
            if self._plain_fit is not None:
                self._plain_fit.begin_at(self._resumption.position or found.position)
        elif self._resumption.position is None and self._resume and self._continues():
            self._exactness.report(checkpoint_lines.NOTHING_SAVED)
        self._was_interrupted = self._is_open = True
        self._begins_anew = not (self._resume and self._resumption.position is not None)
        self._can_resume = self._can_resume_now()
        if self._can_resume:
            self._exactness.look_for_obstacles(self.fit, self.model)
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Not in on_train_begin: another checkpoint may be restored after it.
        if self._begins_anew and (self.step == 0 or self.has_another_model):
            self._keep_earlier()
        self._begins_anew = False
        if self._mid_epoch is not None:
            self._resumption.enter_epoch(self._mid_epoch, self.model, self._peers, fit=self.fit)
            self._mid_epoch = None
        if self._plain_fit is not None:
            self._plain_fit.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        self._choose_mode()
        ends_epoch = self.step_in_epoch == self.params.get("steps")
        if (self.breaks_execution_at(self.step) or self.agreed_request()) and not ends_epoch:
            self._save(self.position, {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self._plain_fit is not None:
            self._plain_fit.end_epoch()
        metrics = scalars(logs)
        self._check_metrics(epoch, metrics)
        self._take_result()
        workers = workers_of(self.model)
        improved = workers.is_chief and self._checkpoints.improves(metrics)
        stops, is_inexact = bool(self.model.stop_training), not self._exactness.holds
        *wanted, is_inexact = workers.all_reduce_max([improved, stops, is_inexact])
        if is_inexact:
            self._exactness.learn_from_another_worker()
        is_last = epoch + 1 == self.params.get("epochs")
        is_due = self._trigger is None or self.breaks_execution_at(self.step)
        if is_due or is_last or any(wanted):
            self._save(self.position, metrics, stopped=bool(wanted[1]))

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
        if workers_of(self.model).any(position != self._saved):
            self._save(position, {})
        self._take_result()
        self._raise_failure()

    def load(self, model: keras.Model, *, step: int | None = None) -> int:
        """Load the weights of a checkpoint into a model, without optimizer, metrics or position.

        With `AveragedWeights` these are the weights themselves, not their averages.

        Args:
            model: a built model, compiled or not.
            step: updates done, as in the name ``step-NNNNNNNN``; None: the newest undamaged
                checkpoint.

        Returns:
            The number of updates done.

        Raises:
            UsageError: the checkpoint does not exist.
            DamagedError: the checkpoint of that step is damaged.
            StateMismatchError: the model has other weights; nothing was changed.
        """
        self._take_result()
        return stored_weights.load(self._checkpoints, model, step=step, notice=self._notice)

    def load_best(self, model: keras.Model) -> int:
        """Load the weights of the best checkpoint by ``monitor``, as `Checkpoint.load` does.

        Without ``monitor``, the best is chosen by the metric that the checkpoints were saved with.

        Args:
            model: a built model, compiled or not.

        Returns:
            The number of updates done.

        Raises:
            UsageError: there is no checkpoint, the checkpoints are not ranked, or none of them has
                the metric.
            DamagedError: the best checkpoint is damaged.
            StateMismatchError: the model has other weights; nothing was changed.
        """
        self._take_result()
        return stored_weights.load_best(self._checkpoints, model, notice=self._notice)

    def close(self) -> None:
        """Wait for the write in flight."""
        self._peers = [self]
        self._is_open = False
        self._resumption.note_end(self.model)
        if self._plain_fit is not None:
            self._plain_fit.close()
            self._plain_fit = None
        self._writer.close()
        self._take_result()

    def on_train_end(self, logs: Logs = None) -> None:
        self._resume = self._was_interrupted = False
        self.close()
        self._raise_failure()

    @property
    def is_exact(self) -> bool:
        """Whether a training resumed from these checkpoints gives the same bits.

        False once a reason against it is known, and for a plain ``keras.Model``, which starts anew.
        """
        return self._can_resume and self._exactness.holds

    def _find_plain_fit(self):
        """Find the position of a ``keras.Model`` whose backend has no `TapeModel`."""
        if self.fit.counts_steps or backends.is_tensorflow():
            return
        steps = self.model.steps_per_execution
        if steps != 1:
            line = checkpoint_lines.single_steps(steps_per_execution=steps, backend=backends.name())
            self._exactness.report(line)
            return
        self._plain_fit = PlainFit.running(self)
        if self._plain_fit is not None:
            self._peers = self._plain_fit.callbacks

    def _keep_earlier(self):
        """Move the checkpoints of an earlier training, so that none is taken for this one's."""
        if not workers_of(self.model).is_chief:
            return
        try:
            directory = self._checkpoints.set_aside()
        except OSError as error:
            raise CheckpointError(
                "the checkpoints of an earlier training cannot be moved: "
                f"{error.strerror or error}: {self.directory}"
            ) from error
        if directory is not None:
            can_resume = self._can_resume or not backends.is_tensorflow()
            self._tell(checkpoint_lines.kept(directory, can_resume=can_resume))

    def _continues(self):
        """Whether an interrupted fit has already trained the model."""
        if not self._was_interrupted:
            return False
        if self.fit.counts_steps:
            return bool(self.model.steps_trained > 0)
        return self._plain_fit is not None and self.step > 0

    def _can_resume_now(self):
        return self.fit.counts_steps or self._plain_fit is not None

    def _tell(self, line):
        if workers_of(self.model).is_chief:
            self._notice(line)

    def _choose_mode(self):
        """Infer an automatic mode as soon as the metrics exist, at the latest after a step."""
        monitor = self._checkpoints.monitor
        if monitor is not None and self._checkpoints.mode is None:
            is_known = ranking.knows_its_metrics(self.model)
            infer = ranking.require_mode if is_known else ranking.best_is
            self._checkpoints.mode = infer(monitor, self.model)

    def _check_metrics(self, epoch, metrics):
        """Say so if the first epoch has not the metric that ranks its checkpoint."""
        monitor = self._checkpoints.monitor
        if monitor is not None and monitor not in metrics and not self._has_checked_metrics:
            self._tell(checkpoint_lines.not_ranked(epoch=epoch, monitor=monitor, names=metrics))
        self._has_checked_metrics = True

    def _raise_failure(self):
        if self._failure is not None:
            raise CheckpointError(f"the last checkpoint could not be written: {self._failure}")

    def _save(self, position, metrics, *, stopped=False):
        self._take_result()
        self._saved, self._saved_at_s = position, self._clock()
        workers = workers_of(self.model)
        place = worker_places.gather(self.fit.place, workers)
        if not workers.is_chief:
            training_state.take_part_in_capture(self.model)
            return
        notes = {
            "learning_rates": self._resumption.learning_rates,
            "stopped": stopped,
            "began_at": self._resumption.began_at,
        }
        fit = self.fit
        state = training_state.capture(
            self.model,
            self._peers,
            position,
            step=fit.step_graph,
            place=place,
            notes=notes,
            attributes=self._resumption.attributes,
        )
        if self._can_resume:
            self._exactness.look_for_changes(fit, self.model, self._resumption.attributes)
        peers = [peer for peer in self._peers if isinstance(peer, StepCallback)]
        taken_at_s = self._saved_at_s
        self._writer.start(lambda: self._write(state, fit, metrics, peers, taken_at_s))

    def _write(self, state, fit, metrics, peers, taken_at_s):
        step = state.position.step
        if not training_state.is_finite(state):
            self._notice(checkpoint_lines.not_finite(step))
            return
        # If the checkpoint is on the disk, all earlier log entries must be there too.
        for peer in peers:
            peer.flush()
        # Done in this thread, because reading through all the data is slow; so is the arithmetic.
        state = state.noting(data=fit.data_identity, arithmetic=arithmetic())
        self._checkpoints.save(step, state.to_files(), metrics)
        self._on_disk_at_s = taken_at_s
        for peer in peers:
            peer.on_checkpoint_saved(step)

    def _take_result(self):
        if not self._writer.is_busy:
            return
        error = self._writer.wait()
        self._failure = error and f"{error.strerror or error}: {self.directory}"
        if error is not None:
            self._saved = None
            self._notice(checkpoint_lines.write_failed(self._failure))
