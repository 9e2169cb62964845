"""The callbacks of one fit of a `TapeModel`, called at true steps."""

import contextlib

import keras

from mnist_keras.callbacks.loss_tracker import examples_in_epoch
from mnist_keras.data.stream import BatchStream
from mnist_keras.distributed.workers import workers_of
from mnist_keras.model.multi_step import MultiStepFunction
from mnist_keras.model.pace import Pace


class FitCallbacks(keras.callbacks.CallbackList):
    """Calls callbacks at every step at which one of them wants to see the model.

    Keras calls its callbacks once per execution. This list lets an execution of N steps be cut in
    between: before a step s for which some callback's ``stops_at(s)`` is true, s being the number
    of updates done. ``records_at(s)`` of a callback asks for the gradient norm of step s.

    A resumed run's first epoch begins in the middle: the steps that were done before are passed
    over, without a call of any callback.

    Where several workers train together, each has the same list. A callback with a true
    ``on_chief_only`` is called on the first worker alone; executions are cut on all of them where
    one of any worker asks. One whose decision rests on what its own process alone knows, as a
    signal or the time, says so as a whole number in ``wish()`` and finds the largest of all
    workers' wishes in ``granted(callback)`` at the same boundary on each of them.
    """

    callbacks: list[keras.callbacks.Callback]

    def __init__(self, model, callbacks, *, stream, verbose, epochs):
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
        # What saves the others' state, or ends the run, has to see what they did in this step.
        self.callbacks.sort(key=lambda callback: getattr(callback, "order", 0))
        self._workers = workers_of(model)
        self._everywhere = list(self.callbacks)
        if not self._workers.is_chief:
            self.callbacks = [c for c in self.callbacks if not _is_for_the_chief(c)]
        self._granted = {}
        self._asks_to_stop = False
        self._async_train = self._async_test = self._async_predict = False
        self.stream = stream if isinstance(stream, BatchStream) else None
        self.steps_per_epoch = None
        self.knows_length = False
        self._knows_data = False
        self._begin = 0
        self._steps_to_pass_over = 0
        self._pace = Pace()

    def resume(self, initial_epoch):
        """Where to begin: the epoch of the furthest checkpoint, if a callback has one to resume."""
        if self.stream is not None and self._workers.are_several:
            self._workers.require_same("data", self.stream.identity)
        found = {}
        for callback in self._everywhere:
            if hasattr(callback, "find_position"):
                found[callback] = callback.find_position(self._everywhere)
        found = {callback: position for callback, position in found.items() if position}
        if not found:
            return initial_epoch
        furthest = max(found, key=lambda callback: found[callback].step)
        for callback in found:
            if callback is not furthest:
                callback.forget_position()
        self._steps_to_pass_over = found[furthest].step_in_epoch
        return found[furthest].epoch

    @property
    def steps_passed_over(self):
        """Steps of the epoch that begins that were done before an interruption."""
        return self._steps_to_pass_over

    def set_data(self, epoch_iterator):
        """Take the steps in an epoch from the training data; validation asks later, in vain."""
        if self._knows_data:
            return
        self._knows_data = True
        self.steps_per_epoch = epoch_iterator.num_batches
        self.knows_length = epoch_iterator.data_adapter.num_batches == self.steps_per_epoch
        self.set_params({**self.params, "steps": self.steps_per_epoch})

    def on_epoch_begin(self, epoch, logs=None):
        if self.stream is not None:
            self.stream.epoch = epoch - 1  # Keras's own call of on_epoch_begin adds the one.
        self.model.examples_in_epoch = None
        super().on_epoch_begin(epoch, logs)
        if self._workers.are_several:
            self.model.examples_in_epoch = examples_in_epoch(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self._steps_to_pass_over = 0
        self._agree()
        super().on_epoch_end(epoch, logs)
        if self._workers.are_several:
            stop = self._asks_to_stop or self.model.stop_training
            self.model.stop_training = bool(self._workers.largest([int(stop)])[0])

    def on_train_end(self, logs=None):
        self._agree()
        super().on_train_end(logs)

    def on_train_batch_begin(self, batch, logs=None):
        self._begin = batch
        if not self._cuts_executions():
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._cuts_executions():
            super().on_train_batch_end(batch, logs)

    def _cuts_executions(self):
        return isinstance(self.model.train_function, MultiStepFunction)

    def run_window(self, iterator, run):
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
        if self.steps_per_epoch is not None:
            end = min(end, self.steps_per_epoch)
        if begin < self._steps_to_pass_over:
            passed_over = min(end, self._steps_to_pass_over) - begin
            if self.stream is None:
                for _ in range(passed_over):
                    next(iterator)
            begin += passed_over
            logs = self.model.get_metrics_result()
        while begin < end and not self.model.stop_training:
            stop = self._earliest_stop(begin, end)
            super().on_train_batch_begin(begin)
            due = self._due(stop - begin)
            with self._pace.measure(steps=stop - begin):
                ran, new_logs = run(iterator, begin, stop, due=due, stream=self.stream)
            if ran == 0 and not logs:
                raise StopIteration
            if ran == 0:
                break
            begin, logs = begin + ran, new_logs
            self._agree()
            stop = self.model.stop_training
            super().on_train_batch_end(begin - 1, logs)
            if self._workers.are_several:
                # What one worker's callback asks for the others learn at the next boundary.
                self._asks_to_stop |= self.model.stop_training
                self.model.stop_training = stop
        return logs

    def granted(self, callback):
        """The largest ``wish()`` of this callback on any worker, at the last boundary."""
        return self._granted[callback] if self._workers.are_several else callback.wish()

    def _agree(self):
        """Settle with the other workers what each alone knows; all are at the same boundary."""
        if not self._workers.are_several:
            return
        wishful = [callback for callback in self._everywhere if hasattr(callback, "wish")]
        wishes = [callback.wish() for callback in wishful]
        stop, *granted = self._workers.largest([int(self._asks_to_stop), *wishes])
        self.model.stop_training |= bool(stop)
        self._granted = dict(zip(wishful, granted, strict=True))

    def _next_stop(self, begin, end):
        done = self.model.steps_trained
        if self.model.chooses_steps:
            end = min(end, begin + self._pace.steps)
        triggers = [c.stops_at for c in self.callbacks if hasattr(c, "stops_at")]
        for stop in range(begin + 1, end):
            if any(trigger(done + stop - begin) for trigger in triggers):
                return stop
        return end

    def _earliest_stop(self, begin, end):
        """The first step before which a callback of any worker wants to see the model."""
        stop = self._next_stop(begin, end)
        return stop if end == begin + 1 else -self._workers.largest([-stop])[0]

    def _due(self, count):
        first = self.model.steps_trained
        triggers = [c.records_at for c in self.callbacks if hasattr(c, "records_at")]
        return [any(trigger(first + i) for trigger in triggers) for i in range(count)]

    def close(self):
        """Let every callback that holds something open close it; also after an exception."""
        with contextlib.ExitStack() as stack:
            if self.stream is not None:
                stack.callback(self.stream.close)
            for callback in reversed(self.callbacks):
                stack.callback(getattr(callback, "close", lambda: None))


def _is_for_the_chief(callback):
    return getattr(callback, "on_chief_only", False) or isinstance(
        callback, keras.callbacks.ProgbarLogger
    )
