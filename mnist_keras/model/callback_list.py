"""The callbacks of one fit of a `TapeModel`, called at true steps."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from mnist_keras import _keras
from mnist_keras._keras import EpochIterator
from mnist_keras.callbacks.base import Fit, StepCallback
from mnist_keras.callbacks.loss_tracker import examples_in_epoch
from mnist_keras.checkpoint import random_state
from mnist_keras.checkpoint.data_position import DataPosition, StreamPosition
from mnist_keras.data.stream import BatchStream
from mnist_keras.distributed.workers import workers_of
from mnist_keras.model.multi_step import MultiStepFunction
from mnist_keras.model.pace import Pace

_LONG_EXECUTION = 10  # steps, beside which a fingerprint does not count


class FitCallbacks(keras.callbacks.CallbackList):
    """Calls the callbacks at every step at which one of them must see the model.

    Keras calls its callbacks once per execution. This list lets an execution of N steps end
    earlier: when ``step`` updates are done for which ``breaks_execution_at(step)`` of some
    callback is true. `mnist_keras.callbacks.base` has the protocol.

    The first epoch of a resumed run begins in the middle: the steps that were done before are
    skipped, without a call of any callback.

    Several workers have the same list each. A callback that is ``chief_only`` is called only on
    the first worker; executions end on all workers where a callback of any worker asks for it.
    """

    callbacks: list[keras.callbacks.Callback]

    def __init__(
        self,
        model: Any,
        callbacks: Sequence[Any] | keras.callbacks.CallbackList | None,
        *,
        stream: Any,
        verbose: Any,
        epochs: int,
    ) -> None:
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = callbacks.callbacks
        super().__init__(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=None,
        )
        self.fit = _Fit(self, stream if isinstance(stream, BatchStream) else None)
        for callback in self._followers(self.callbacks):
            callback.fit = self.fit
        # A callback that saves the state of the others, or ends the run, is called after them.
        self.callbacks.sort(key=_priority)
        self._workers = workers_of(model)
        self._everywhere = list(self.callbacks)
        if not self._workers.is_chief:
            self.callbacks = [c for c in self.callbacks if not _is_for_the_chief(c)]
        own = self._followers(self.callbacks)
        self._breaks = _overridden(own, "breaks_execution_at")
        self._norms = _overridden(own, "needs_gradient_norm")
        self._requesting = [
            request.__self__
            for request in _overridden(self._followers(self._everywhere), "local_request")
        ]
        self._agreed: dict[StepCallback, int] = {}
        self._resuming = _overridden(self._followers(self._everywhere), "resume_position")
        self._is_resumed = False
        self._first_epoch = 0
        self._began: dict[str, Any] = {}
        self._batch_spec: Any = None
        self._asks_to_stop = False
        self.steps_per_epoch: int | None = None
        self.knows_length = False
        self._knows_data = False
        self._begin = 0
        self._pace = Pace()

    def resume(self, initial_epoch: int) -> int:
        """The epoch to begin with: that of the furthest position of a callback, if any has one."""
        if self.fit.stream is not None and self._workers.are_several:
            self._workers.require_same("data", self.fit.stream.identity)
        positions = {ask.__self__: ask(self._everywhere) for ask in self._resuming}
        found = {callback: position for callback, position in positions.items() if position}
        self._first_epoch = initial_epoch
        if found:
            furthest = max(found, key=lambda callback: found[callback].step)
            for callback in found:
                if callback is not furthest:
                    callback.discard_position()
            self._is_resumed = True
            self.fit.steps_skipped = found[furthest].step_in_epoch
            initial_epoch = found[furthest].epoch
            furthest.accept_position()
        self._began = random_state.capture()
        return initial_epoch

    def set_data(self, epoch_iterator: Any) -> None:
        """Take the training data, which come first, and count the validations that follow."""
        if self._knows_data:
            if self.fit.data is not None:
                self.fit.data.begin_validation(EpochIterator(epoch_iterator))
            return
        self._knows_data = True
        self.steps_per_epoch = epoch_iterator.num_batches
        self.knows_length = epoch_iterator.data_adapter.num_batches == self.steps_per_epoch
        self.set_params({**self.params, "steps": self.steps_per_epoch})
        stream = self.fit.stream
        if stream is not None:
            self.fit.data = StreamPosition()
            if _keras.strategy_of(self.model) is None:  # Else each replica cuts its own part.
                self._batch_spec = stream.element_spec
            return
        epochs = EpochIterator(epoch_iterator)
        self._batch_spec = epochs.dataset.element_spec
        self.fit.data = DataPosition(
            epochs,
            strategy=self.model.distribute_strategy,
            first_epoch=self._first_epoch,
            began=self._began,
        )

    def on_train_begin(self, logs: Any = None) -> None:
        is_ours = isinstance(self.model.train_function, MultiStepFunction)
        if is_ours and self._batch_spec is not None:
            self.fit.step_graph = self.model.train_function.trace(
                self._batch_spec, builds=self._is_resumed
            )
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.fit.stream is not None:
            self.fit.stream.epoch = epoch - 1  # Keras's own call of on_epoch_begin adds the one.
        self.model.examples_in_epoch = None
        super().on_epoch_begin(epoch, logs)
        if self._workers.are_several:
            self.model.examples_in_epoch = examples_in_epoch(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.fit.steps_skipped = 0
        self._agree()
        super().on_epoch_end(epoch, logs)
        if self._workers.are_several:
            stop = self._asks_to_stop or self.model.stop_training
            self.model.stop_training = bool(self._workers.all_reduce_max([int(stop)])[0])

    def on_train_end(self, logs: Any = None) -> None:
        self._agree()
        super().on_train_end(logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begin = batch
        if not self._cuts_executions():
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._cuts_executions():
            super().on_train_batch_end(batch, logs)

    def _cuts_executions(self):
        return isinstance(self.model.train_function, MultiStepFunction)

    def run_window(self, iterator: Any, run: Callable[..., Any]) -> dict[str, Any]:
        """Run one execution in as many pieces as the callbacks ask for.

        Args:
            iterator: Keras's iterator over the batches of the epoch.
            run: `MultiStepFunction.run`.

        Returns:
            The last piece's logs; where all its steps were done before, the metrics so far.

        Raises:
            StopIteration: no batch is left.
        """
        begin, logs = self._begin, {}
        end = begin + self.model.steps_per_execution
        stream = self.fit.stream
        if self.steps_per_epoch is not None:
            end = min(end, self.steps_per_epoch)
        if begin < self.fit.steps_skipped:
            begin = min(end, self.fit.steps_skipped)
            logs = self.model.get_metrics_result()
        while begin < end and not self.model.stop_training:
            stop = self._earliest_break(begin, end)
            super().on_train_batch_begin(begin)
            due, prints = self._norms_due(stop - begin), self._prints_due(begin, stop)
            with self._pace.measure(steps=stop - begin):
                ran, new_logs = run(iterator, begin, stop, due=due, prints=prints, stream=stream)
            self._note_draws(ran, prints)
            if ran == 0 and not logs:
                raise StopIteration
            if ran == 0:
                break
            begin, logs = begin + ran, new_logs
            self._agree()
            stop_training = self.model.stop_training
            super().on_train_batch_end(begin - 1, logs)
            if self._workers.are_several:
                # What one worker's callback asks for the others learn at the next boundary.
                self._asks_to_stop |= self.model.stop_training
                self.model.stop_training = stop_training
        return logs

    def agreed_request(self, callback: StepCallback) -> int:
        """The largest ``local_request()`` of this callback on any worker, at the last boundary."""
        return self._agreed[callback] if self._workers.are_several else callback.local_request()

    def _agree(self):
        """Settle with the other workers what each alone knows; all are at the same boundary."""
        if not self._workers.are_several:
            return
        requests = [callback.local_request() for callback in self._requesting]
        stop, *agreed = self._workers.all_reduce_max([int(self._asks_to_stop), *requests])
        self.model.stop_training |= bool(stop)
        self._agreed = dict(zip(self._requesting, agreed, strict=True))

    def _next_break(self, begin, end):
        done = self.model.steps_trained
        if self.model.chooses_steps:
            end = min(end, begin + self._pace.steps)
        if self._breaks:
            for stop in range(begin + 1, end):
                if any(breaks(done + stop - begin) for breaks in self._breaks):
                    return stop
        return end

    def _earliest_break(self, begin, end):
        """The first step before which a callback of any worker must see the model."""
        stop = self._next_break(begin, end)
        return stop if end == begin + 1 else -self._workers.all_reduce_max([-stop])[0]

    def _norms_due(self, count):
        first = self.model.steps_trained
        return [any(needs(first + i) for needs in self._norms) for i in range(count)]

    def _prints_due(self, begin, end):
        """Which batches get a fingerprint: the first of all, and the last before a checkpoint."""
        data, count = self.fit.data, end - begin
        if data is None or not self._resuming or self.fit.stream is not None:
            return ()
        done = self.model.steps_trained + count
        is_boundary = (
            count >= _LONG_EXECUTION
            or end == self.steps_per_epoch
            or any(breaks(done) for breaks in self._breaks)
        )
        return [
            (i == 0 and data.wants_first) or (i == count - 1 and is_boundary) for i in range(count)
        ]

    def _note_draws(self, ran, prints):
        data, fingerprints = self.fit.data, self.model.train_function.fingerprints
        if data is None or self.fit.stream is not None:
            return
        for step, is_due in enumerate(prints[:ran]):
            if is_due and fingerprints is not None:
                data.note(data.draws + step, fingerprints[step])
        data.advance(ran)

    def close(self) -> None:
        """Let every callback that holds something open close it; also after an exception."""
        with contextlib.ExitStack() as stack:
            if self.fit.data is not None:
                stack.callback(self.fit.data.detach)
            if self.fit.stream is not None:
                stack.callback(self.fit.stream.close)
            for callback in reversed(self._followers(self.callbacks)):
                stack.callback(callback.close)
        for callback in self._followers(self._everywhere):
            callback.fit = Fit()

    @staticmethod
    def _followers(callbacks):
        """The callbacks that follow the protocol; Keras's own have its defaults."""
        return [callback for callback in callbacks if isinstance(callback, StepCallback)]


class _Fit(Fit):
    """The `Fit` of a `TapeModel`."""

    def __init__(self, callbacks, stream):
        super().__init__(counts_steps=True, stream=stream)
        self._callbacks = callbacks

    def agreed_request(self, callback):
        return self._callbacks.agreed_request(callback)


def _priority(callback):
    return callback.priority if isinstance(callback, StepCallback) else StepCallback.priority


def _overridden(callbacks, name):
    """The bound methods of that name of the callbacks that override it."""
    default = getattr(StepCallback, name)
    return [getattr(c, name) for c in callbacks if getattr(type(c), name) is not default]


def _is_for_the_chief(callback):
    if isinstance(callback, StepCallback):
        return callback.chief_only
    return isinstance(callback, keras.callbacks.ProgbarLogger)
