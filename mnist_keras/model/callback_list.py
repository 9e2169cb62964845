"""The callbacks of one fit of a `TapeModel`, called at the exact steps that they ask for."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras

from mnist_keras import _keras
from mnist_keras._keras import EpochIterator
from mnist_keras.callbacks.base import Fit, StepCallback, followers, furthest_position, priority
from mnist_keras.callbacks.loss_tracker import loss_tracker
from mnist_keras.checkpoint import random_state
from mnist_keras.checkpoint.data_position import DataPosition, StreamPosition
from mnist_keras.data.stream import BatchStream
from mnist_keras.distributed.workers import workers_of
from mnist_keras.model.batch_hooks import see_batches
from mnist_keras.model.multi_step import MultiStepFunction
from mnist_keras.model.own_train_function import OwnTrainFunction
from mnist_keras.model.pace import Pace

_LONG_EXECUTION = 10  # steps; in so many, the time for a fingerprint is negligible


class FitCallbacks(keras.callbacks.CallbackList):
    """Calls the callbacks at every step at which one of them must see the model.

    Keras calls its callbacks once per execution. This list can end an execution earlier: after
    ``step`` updates if ``breaks_execution_at(step)`` of any callback is true.
    `mnist_keras.callbacks.base` describes the protocol.

    The first epoch of a resumed run may begin in the middle. The steps that were done before are
    skipped, and no callback is called for them.

    Each worker has the same list. A ``chief_only`` callback is called only on the first worker. If
    a callback of any worker asks to end an execution, it ends on all workers at the same step.

    Attributes:
        pace: the `mnist_keras.model.pace.Pace` of the training.
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
        super().__init__(callbacks, add_history=True, add_progbar=verbose != 0, model=model)
        # Others get them from `set_data`: Keras tells its callbacks once, with the steps.
        self.params = {"verbose": verbose, "epochs": epochs, "steps": None}
        for callback in followers(self.callbacks):
            callback.set_params(self.params)
        self.fit = _Fit(self, stream if isinstance(stream, BatchStream) else None)
        for callback in followers(self.callbacks):
            callback.fit = self.fit
        # Callbacks that save the state of others, or end the run, must be called after them.
        self.callbacks.sort(key=priority)
        self._workers = workers_of(model)
        self._everywhere = list(self.callbacks)
        if not self._workers.is_chief:
            self.callbacks = [c for c in self.callbacks if not _is_for_the_chief(c)]
        own = followers(self.callbacks)
        self._breaks = _overridden(own, "breaks_execution_at")
        self._norms = _overridden(own, "needs_gradient_norm")
        self._requesting = [
            request.__self__
            for request in _overridden(followers(self._everywhere), "local_request")
        ]
        self._agreed: dict[StepCallback, int] = {}
        self._resuming = _overridden(followers(self._everywhere), "resume_position")
        self._is_resumed = False
        self._first_epoch = 0
        self._began: dict[str, Any] = {}
        self._asks_to_stop = False
        self.steps_per_epoch: int | None = None
        self.knows_length = False
        self._epochs: EpochIterator | None = None
        self._begin = 0
        self.pace = Pace()

    def see_batches(self, phase: Literal["train", "test"]) -> bool:
        """Whether a callback of any worker has a hook for each batch; a collective call."""
        return self._workers.any(see_batches(self._everywhere, phase))

    def resume(self, initial_epoch: int) -> int:
        """Accept the furthest position that a callback has, and return the epoch to begin with."""
        furthest = furthest_position(self._everywhere)
        self._first_epoch = initial_epoch
        if furthest is not None:
            callback, position = furthest
            self._is_resumed = self.fit.resumes = True
            self.fit.steps_skipped = position.step_in_epoch
            initial_epoch = max(initial_epoch, position.epoch)
            callback.accept_position()
        self._began = random_state.capture()
        return initial_epoch

    def set_data(self, epoch_iterator: Any) -> None:
        """Take the training data at the first call; each later call begins a validation."""
        if self._epochs is not None:
            if self.fit.data is not None:
                self.fit.data.begin_validation(EpochIterator(epoch_iterator))
            return
        self._epochs = epochs = EpochIterator(epoch_iterator)
        self.steps_per_epoch = epoch_iterator.num_batches
        self.knows_length = self.steps_per_epoch is not None and (
            epochs.adapter.num_batches == self.steps_per_epoch or epochs.is_endless
        )
        self.set_params({**self.params, "steps": self.steps_per_epoch})
        stream = self.fit.stream
        if stream is not None:
            self.fit.data = StreamPosition()
            if _keras.strategy_of(self.model) is None:  # Otherwise each replica cuts its shard.
                self.fit.batch_spec = stream.element_spec
            return
        self.fit.batch_spec = epochs.dataset.element_spec
        self.fit.data = DataPosition(
            epochs,
            strategy=self.model.distribute_strategy,
            first_epoch=self._first_epoch,
            began=self._began,
            cuts_arrays=self.model.cuts_arrays("train"),
        )

    def on_train_begin(self, logs: Any = None) -> None:
        self._take_own_function()
        function = self.model.train_function
        if self._cuts_executions() and self.fit.batch_spec is not None:
            self.fit.step_graph = function.trace(self.fit.batch_spec, builds=self._is_resumed)
        super().on_train_begin(logs)

    @property
    def own_function(self) -> OwnTrainFunction | None:
        """What stands in for a train function of the program's own, or None."""
        function = self.model.train_function
        return function if isinstance(function, OwnTrainFunction) else None

    def _take_own_function(self):
        function = self.model.train_function
        if callable(function) and not self._cuts_executions():
            self.model.train_function = OwnTrainFunction(self.model, function)

    def _give_own_function_back(self):
        own = self.own_function
        if own is not None:
            own.end()
            self.model.train_function = own.function

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.fit.stream is not None:
            self.fit.stream.epoch = epoch - 1  # Keras's call of on_epoch_begin then adds 1.
        random = random_state.capture() if self.fit.steps_skipped else None
        super().on_epoch_begin(epoch, logs)
        if random is not None:  # It was called before the interruption too.
            random_state.restore(random)
        # Afterwards: a checkpoint may have restored the tracker in the middle of an epoch.
        self.model.examples_in_epoch = self._examples_before_epoch()

    def _examples_before_epoch(self):
        if not self._cuts_executions():
            return None
        if self.model.train_function.counts_examples:
            return 0 if self.fit.stream is None else None
        tracker = loss_tracker(self.model)
        return None if tracker is None else float(keras.ops.convert_to_numpy(tracker.count))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.fit.steps_skipped = 0
        self._agree()
        super().on_epoch_end(epoch, logs)
        if self._workers.are_several:
            stop = self._asks_to_stop or self.model.stop_training
            self.model.stop_training = self._workers.any(stop)

    def on_train_end(self, logs: Any = None) -> None:
        self._agree()
        super().on_train_end(logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begin = batch
        self._take_own_function()  # A callback may have set another one.
        if not self._cuts_executions():
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._cuts_executions():
            super().on_train_batch_end(batch, logs)

    def _cuts_executions(self):
        return isinstance(self.model.train_function, MultiStepFunction | OwnTrainFunction)

    def run_window(self, iterator: Any, run: Callable[..., Any]) -> dict[str, Any]:
        """Run one execution, in several parts if callbacks ask for it.

        Args:
            iterator: Keras's iterator over the batches of the epoch.
            run: `MultiStepFunction.run`, or that of an `OwnTrainFunction`.

        Returns:
            The logs of the last part; if all steps were done before, the metrics so far.

        Raises:
            StopIteration: no batch is left.
        """
        begin, is_ended = self._begin, False
        logs: dict[str, Any] = {}
        end = begin + self.model.steps_per_execution
        stream = self.fit.stream
        if self.steps_per_epoch:  # 0 of data without a batch: Keras then draws until the end.
            end = min(end, self.steps_per_epoch)
        if begin < self.fit.steps_skipped:
            begin = min(end, self.fit.steps_skipped)
            logs = self.fit.last_logs or self.model.get_metrics_result()
        while begin < end and not self.model.stop_training:
            stop = self._earliest_break(begin, end)
            super().on_train_batch_begin(begin)
            due, prints = self._norms_due(stop - begin), self._prints_due(begin, stop)
            options = {"due": due, "prints": prints, "stream": stream}
            steps = functools.partial(run, iterator, begin, stop, **options)
            ran, new_logs = self.pace.timed(steps)
            self._note_draws(ran, prints)
            self._count_examples(ran)
            if ran == 0 and not logs:
                raise StopIteration
            if ran == 0:
                is_ended = True
                break
            begin, logs = begin + ran, new_logs
            self.fit.last_logs = new_logs
            self._agree()
            stop_training = self.model.stop_training
            super().on_train_batch_end(begin - 1, logs)
            if self._workers.are_several:
                # The other workers learn at the next boundary that a callback asks to stop.
                self._asks_to_stop |= self.model.stop_training
                self.model.stop_training = stop_training
        if self._epochs is not None:
            self._epochs.count_steps(begin - self._begin)
            if is_ended:
                self._epochs.end_data(begin=self._begin)
        return logs

    def agreed_request(self, callback: StepCallback) -> int:
        """The maximum of this callback's ``local_request()`` over workers at the last boundary."""
        return self._agreed[callback] if self._workers.are_several else callback.local_request()

    def _agree(self):
        """Share requests and stops among workers; a collective call at the same boundary."""
        if not self._workers.are_several:
            return
        requests = [callback.local_request() for callback in self._requesting]
        stop, *agreed = self._workers.all_reduce_max([int(self._asks_to_stop), *requests])
        self.model.stop_training |= bool(stop)
        self._agreed = dict(zip(self._requesting, agreed, strict=True))

    def _next_break(self, begin, end):
        done = self.model.steps_trained
        if self.model.chooses_steps:
            end = min(end, begin + self.pace.steps)
        if self._breaks:
            for stop in range(begin + 1, end):
                if any(breaks(done + stop - begin) for breaks in self._breaks):
                    return stop
        return end

    def _earliest_break(self, begin, end):
        """Where the execution must end: the minimum over workers."""
        stop = self._next_break(begin, end)
        return stop if end == begin + 1 else -self._workers.all_reduce_max([-stop])[0]

    def _norms_due(self, count):
        first = self.model.steps_trained
        return [any(needs(first + i) for needs in self._norms) for i in range(count)]

    def _prints_due(self, begin, end):
        """Which batches get a fingerprint: the very first, and the last before a checkpoint."""
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
        draws = self.model.train_function.draws
        data.advance(ran if draws is None else draws)

    def _count_examples(self, ran):
        examples = self.model.train_function.examples
        if examples is not None and ran and self.model.examples_in_epoch is not None:
            self.model.examples_in_epoch += int(examples.numpy().sum())

    def close(self) -> None:
        """Close every callback, the data and the stream; also called after an exception."""
        self._give_own_function_back()
        with contextlib.ExitStack() as stack:
            if self.fit.data is not None:
                stack.callback(self.fit.data.detach)
            if self.fit.stream is not None:
                stack.callback(self.fit.stream.close)
            for callback in reversed(followers(self.callbacks)):
                stack.callback(callback.close)
        for callback in followers(self._everywhere):
            callback.fit = Fit()
        # Otherwise the arrays would stay in memory until Python looks for cycles of objects.
        self.fit.data = self._epochs = None


class _Fit(Fit):
    """The `Fit` of a `TapeModel`."""

    def __init__(self, callbacks, stream):
        super().__init__(counts_steps=True, stream=stream)
        self._callbacks = callbacks

    def obstacles_of_steps(self):
        own = self._callbacks.own_function
        return [] if own is None else own.obstacles()

    def agreed_request(self, callback):
        return self._callbacks.agreed_request(callback)


def _overridden(callbacks, name):
    """The bound methods with this name, of the callbacks that override it."""
    default = getattr(StepCallback, name)
    return [getattr(c, name) for c in callbacks if getattr(type(c), name) is not default]


def _is_for_the_chief(callback):
    if isinstance(callback, StepCallback):
        return callback.chief_only
    return isinstance(callback, keras.callbacks.ProgbarLogger)
