"""The callbacks of one fit of a `TapeModel`, called at true steps."""

import contextlib

import keras

from mnist_keras.data.stream import BatchStream
from mnist_keras.multi_step import MultiStepFunction


class FitCallbacks(keras.callbacks.CallbackList):
    """Calls callbacks at every step at which one of them wants to see the model.

    Keras calls its callbacks once per execution. This list lets an execution of N steps be cut in
    between: before a step s for which some callback's ``stops_at(s)`` is true, s being the number
    of updates done. ``records_at(s)`` of a callback asks for the gradient norm of step s.

    A resumed run's first epoch begins in the middle: the steps that were done before are passed
    over, without a call of any callback.
    """

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
        self._async_train = self._async_test = self._async_predict = False
        self.stream = stream if isinstance(stream, BatchStream) else None
        self.steps_per_epoch = None
        self._knows_data = False
        self._begin = 0
        self._steps_to_pass_over = 0

    def resume(self, initial_epoch):
        """Where to begin: the epoch of the furthest checkpoint, if a callback has one to resume."""
        found = {}
        for callback in self.callbacks:
            if hasattr(callback, "find_position"):
                found[callback] = callback.find_position(self.callbacks)
        found = {callback: position for callback, position in found.items() if position}
        if not found:
            return initial_epoch
        furthest = max(found, key=lambda callback: found[callback].step)
        for callback in found:
            if callback is not furthest:
                callback.forget_position()
        self._steps_to_pass_over = found[furthest].step_in_epoch
        return found[furthest].epoch

    def set_data(self, epoch_iterator):
        """Take the steps in an epoch from the training data; validation asks later, in vain."""
        if self._knows_data:
            return
        self._knows_data = True
        self.steps_per_epoch = epoch_iterator.num_batches
        self.set_params({**self.params, "steps": self.steps_per_epoch})

    def on_epoch_begin(self, epoch, logs=None):
        if self.stream is not None:
            self.stream.epoch = epoch - 1  # Keras's own call of on_epoch_begin adds the one.
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._steps_to_pass_over = 0
        super().on_epoch_end(epoch, logs)

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
            stop = self._next_stop(begin, end)
            super().on_train_batch_begin(begin)
            due = self._due(stop - begin)
            ran, new_logs = run(iterator, begin, stop, due=due, stream=self.stream)
            if ran == 0 and not logs:
                raise StopIteration
            if ran == 0:
                break
            begin, logs = begin + ran, new_logs
            super().on_train_batch_end(begin - 1, logs)
        return logs

    def _next_stop(self, begin, end):
        done = self.model.steps_trained
        triggers = [c.stops_at for c in self.callbacks if hasattr(c, "stops_at")]
        for stop in range(begin + 1, end):
            if any(trigger(done + stop - begin) for trigger in triggers):
                return stop
        return end

    def _due(self, count):
        first = self.model.steps_trained
        triggers = [c.records_at for c in self.callbacks if hasattr(c, "records_at")]
        return [any(trigger(first + i) for trigger in triggers) for i in range(count)]

    def close(self):
        """Let every callback that holds something open close it; also after an exception."""
        with contextlib.ExitStack() as stack:
            for callback in reversed(self.callbacks):
                stack.callback(getattr(callback, "close", lambda: None))
