"""Finds the checkpoint that a `Checkpoint` resumes from, and restores its state."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from mnist_keras.callbacks import checkpoint_lines
from mnist_keras.callbacks.base import Fit
from mnist_keras.callbacks.exactness import Exactness
from mnist_keras.checkpoint import (
    arithmetic,
    callback_state,
    donor,
    early_stop,
    file_bundle,
    learning_rates,
    random_state,
    training_state,
    worker_places,
)
from mnist_keras.checkpoint.callback_attributes import CallbackAttributes
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.storage import Stored
from mnist_keras.checkpoint.training_state import Position, TrainingState
from mnist_keras.distributed.workers import workers_of


class Resumption:
    """The resume of one training: its own newest checkpoint, or the start from another training's.

    Args:
        checkpoints: the training's own checkpoints.
        start_from: those of another training, or None.
        use_new_learning_rate: whether a learning rate that the program has changed is used.
        exactness: gets the reasons why the resume is not exact.
        tell: called with each line for the user, on every worker.
        notice: called with a message for each damaged checkpoint.

    Attributes:
        position: where the training begins, as `find` returned it last.
        attributes: those of the user's callbacks of the present or last fit.
        began_at: the steps before this fit, as the fit that was interrupted counted them.
        learning_rates: {attribute: rate} that the program had when the training began.
    """

    def __init__(
        self,
        checkpoints: CheckpointDirectory,
        *,
        start_from: CheckpointDirectory | None,
        use_new_learning_rate: bool,
        exactness: Exactness,
        tell: Callable[[str], object],
        notice: Callable[[str], object],
    ) -> None:
        self._checkpoints = checkpoints
        self._start_from = start_from
        self._use_new_learning_rate = use_new_learning_rate
        self._exactness = exactness
        self._tell = tell
        self._notice = notice
        self._found: TrainingState | None = None
        self._starts_anew = False
        self._taken: Stored | None = None
        self._workers: Any = None
        self._rates_at_begin: dict[str, float] = {}
        self._rates_at_end: dict[str, float] | None = None
        self.position: Position | None = None
        self.attributes = CallbackAttributes([])
        self.began_at = 0
        self.learning_rates: dict[str, float] | None = None

    def find(
        self, model: Any, callbacks: Sequence[keras.callbacks.Callback], *, epochs: int
    ) -> Position | None:
        """Read the state to resume from, on the chief, and send it to the other workers.

        Returns:
            Where to begin: past the last epoch if the training was stopped early, None if there is
            no state.

        Raises:
            UsageError, DamagedError, MnistKerasError: ``start_from`` has no checkpoint to begin
                with, as `mnist_keras.checkpoint.donor.take` describes.
        """
        self._workers = workers = workers_of(model)
        files = self._read() if workers.is_chief else None
        self._starts_anew = workers.any(self._starts_anew)
        if workers.are_several:
            files = file_bundle.unpack(workers.broadcast(file_bundle.pack(files)))
        self._found = found = None if files is None else TrainingState.from_files(files)
        self.position = None if found is None else self._begin_at(found, callbacks, epochs)
        return self.position

    def _begin_at(self, found, callbacks, epochs):
        if self._starts_anew:
            return Position(step=0, epoch=0, step_in_epoch=0)
        if early_stop.still_stops(found, callbacks):
            epoch = max(epochs, found.position.epoch)
            return dataclasses.replace(found.position, epoch=epoch)
        return found.position

    def _read(self):
        check = TrainingState.from_files
        stored = self._checkpoints.newest(self._notice, check=check)
        self._taken = None
        if stored is None and self._start_from is not None:
            stored = self._taken = donor.take(
                self._start_from, self._checkpoints, self._notice, check=check
            )
        self._starts_anew = self._taken is not None
        return stored and stored.files

    def restore_generators(self) -> None:
        """Restore the random generators as they were when the first fit opened its data."""
        if self._found is None or self._starts_anew or self._found.place is None:
            return
        place, _ = worker_places.own(self._found.place, self._workers)
        if "began" in place:
            random_state.restore(place["began"])

    def discard(self) -> None:
        """Do not restore the state that `find` found."""
        self._found = None

    def restore(
        self,
        model: Any,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        fit: Fit,
        epochs: int | None,
        was_interrupted: bool,
    ) -> TrainingState | None:
        """Restore the state that `find` found, once; call it after all ``on_train_begin``.

        Args:
            model: the built model, with the learning rates that the program gave it.
            callbacks: the callbacks of the fit.
            fit: what the running fit tells its callbacks.
            epochs: those of the fit.
            was_interrupted: whether the fit before with this object has not ended; what it did to
                the callbacks and the learning rates is undone.

        Returns:
            The state, if the training continues from its position.

        Raises:
            StateMismatchError: the state is of another model, other data or other callbacks.
            MnistKerasError: the checkpoint of ``start_from`` cannot be recorded.
        """
        found, self._found = self._found, None
        self.attributes = CallbackAttributes(
            callback_state.without_state(callbacks),
            left_out=callback_state.keras_attributes,
            interrupted=self.attributes if was_interrupted and found is not None else None,
        )
        self.began_at = begins_at = getattr(model, "steps_trained", 0)
        rates = learning_rates.learning_rates(model)
        if self.learning_rates is None:
            self.learning_rates = rates
        elif was_interrupted and rates == self._rates_at_end:  # A callback may have set them.
            rates = self.learning_rates
        if found is None:
            return None
        if self._starts_anew:
            training_state.assign_variables(found, model, step=fit.step_graph)
            learning_rates.assign(model, rates)
            learning_rates.begin_schedules(model)
            if fit.counts_steps:
                model.steps_trained = self.began_at = 0
            if self._taken is not None:  # None on all workers but the chief.
                donor.record(self._taken, self._start_from, self._checkpoints)
            self._tell(checkpoint_lines.started_from(self._directory(found.position.step)))
            return None
        is_over = early_stop.still_stops(found, callbacks)
        training_state.restore(found, model, callbacks, step=fit.step_graph, data=fit.data_identity)
        for name in training_state.restore_attributes(found, self.attributes):
            self._exactness.report(
                f"the checkpoint has the state of a callback {name}, and this fit has none; train "
                "with the same callbacks"
            )
        if fit.counts_steps:
            model.steps_trained = found.position.step
        self._tell_where_from(found.position, epochs=epochs, is_over=is_over)
        self.began_at = found.description.get("began_at", 0)
        if fit.counts_steps and begins_at < self.began_at:
            self._exactness.report(
                checkpoint_lines.of_a_later_fit(saved=self.began_at, begins_at=begins_at)
            )
        if not is_over:
            early_stop.forget(found, callbacks)
        if self._workers.is_chief:
            for reason in arithmetic.changes(found.description.get("arithmetic")):
                self._exactness.report_own(reason)
        self._take_learning_rates(model, rates, begun=found.description.get("learning_rates", {}))
        self._rates_at_begin = learning_rates.learning_rates(model)
        if fit.data is not None:
            self._find_place(found, fit, workers_of(model))
        return found

    def enter_epoch(
        self,
        state: TrainingState,
        model: Any,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        fit: Fit,
    ) -> None:
        """Undo what the ``on_epoch_begin`` of callbacks did to an epoch that had begun before.

        It is called again at a resume, as it may prepare what no checkpoint holds.

        Args:
            state: what `restore` returned.
            model: the model.
            callbacks: the callbacks of the fit.
            fit: what the running fit tells its callbacks.
        """
        training_state.restore_again(state, model, callbacks, step=fit.step_graph)
        training_state.restore_attributes_again(state, self.attributes)
        learning_rates.assign(model, self._rates_at_begin)

    def note_end(self, model: Any) -> None:
        """Note what a fit leaves, at its end or at an exception."""
        self.attributes.note_end()
        self.note_rates(model)

    def note_rates(self, model: Any) -> None:
        """Note the learning rates that a fit leaves."""
        self._rates_at_end = None if model is None else learning_rates.learning_rates(model)

    def _directory(self, step):
        another = self._start_from if self._starts_anew else None
        return (another or self._checkpoints).directory(step)

    def _find_place(self, found, fit, workers):
        fit.data.report_to(self._exactness.report_own)
        if found.place is None:
            self._exactness.report(
                "an earlier version wrote the checkpoint, without the position in the data"
            )
            return
        position = found.position
        place, count = worker_places.own(found.place, workers)
        if count != workers.count and fit.stream is None:
            self._exactness.report(
                f"the checkpoint is of {count} workers, and there are {workers.count}; train with "
                "as many as before"
            )
            place = {**place, "prints": []}
        fit.last_logs = place["logs"]
        fit.data.resume(place, epoch=position.epoch, step_in_epoch=position.step_in_epoch)

    def _tell_where_from(self, position, *, epochs, is_over):
        path = self._directory(position.step)
        self._tell(checkpoint_lines.resumed(step=position.step, path=path))
        if epochs is not None and position.epoch >= epochs:
            self._tell(checkpoint_lines.all_epochs_done(epochs=epochs, done=position.epoch))
        elif is_over:
            line = checkpoint_lines.stopped_early(
                epochs=epochs, done=position.epoch, directory=self._checkpoints.path
            )
            self._tell(line)

    def _take_learning_rates(self, model, rates, *, begun):
        restored = learning_rates.learning_rates(model)
        changed = learning_rates.changed(rates, begun=begun, restored=restored)
        for attribute, (of_checkpoint, new) in changed.items():
            line = checkpoint_lines.learning_rate(
                attribute=attribute,
                restored=of_checkpoint,
                new=new,
                takes_new=self._use_new_learning_rate,
            )
            self._tell(line)
        if self._use_new_learning_rate:
            learning_rates.assign(model, {name: new for name, (_, new) in changed.items()})
        else:
            self.learning_rates = {**rates, **begun}
