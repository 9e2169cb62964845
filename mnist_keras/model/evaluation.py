"""Evaluation with many batches in one call of the device."""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras._keras import EpochIterator
from mnist_keras.data.array_batches import ArrayPass
from mnist_keras.data.cut_arrays import cut_arrays
from mnist_keras.distributed.workers import workers_of
from mnist_keras.model.array_loops import ArrayLoops
from mnist_keras.model.batch_hooks import see_batches
from mnist_keras.model.callback_list import FitCallbacks
from mnist_keras.model.graph_function import graph_function
from mnist_keras.model.multi_step import initial_logs, loop, none_where_absent
from mnist_keras.model.pace import MOST_STEPS, Pace


class Evaluation:
    """One evaluation of a `TapeModel`; ``model.evaluation`` while it runs.

    Args:
        steps_per_execution: how many batches one call of the test function evaluates.

    Attributes:
        steps: the number of batches evaluated.
        callbacks: the list of callbacks that Keras calls.
    """

    def __init__(self, steps_per_execution: int, callbacks: keras.callbacks.CallbackList) -> None:
        self.steps = 0
        self.callbacks = callbacks
        self._steps_per_execution = steps_per_execution
        self._epochs: EpochIterator | None = None

    def begin(self, epoch_iterator: Any, *, cuts_arrays: bool) -> None:
        """Take Keras's iterator over the data.

        Args:
            epoch_iterator: the iterator.
            cuts_arrays: whether the test function takes an `ArrayPass` as its iterator.
        """
        self._epochs = EpochIterator(epoch_iterator)
        if cuts_arrays:
            cut_arrays(self._epochs)
        self._epochs.steps_per_execution = self._steps_per_execution
        if isinstance(self.callbacks, _TrueSteps):
            params = {**self.callbacks.params, "steps": epoch_iterator.num_batches}
            self.callbacks.set_params(params)

    @property
    def next_count(self) -> int:
        """How many batches to evaluate in the next call; an evaluation of ``steps`` ends there."""
        limit = None if self._epochs is None else self._epochs.steps_per_epoch
        count = self._steps_per_execution
        return count if limit is None else min(count, limit - self.steps)

    def count(self, ran: int) -> None:
        """Count the batches that a call has evaluated."""
        is_short = ran < self.next_count
        self.steps += ran
        if self._epochs is not None:
            self._epochs.count_steps(ran)
            if is_short:
                self._epochs.end_data(begin=self.steps - ran)


@contextlib.contextmanager
def evaluating(model: Any, callbacks: Any, *, verbose: Any) -> Iterator[Evaluation]:
    """Set ``model.evaluation`` while the model evaluates.

    Args:
        model: a `TapeModel`.
        callbacks, verbose: as given to ``evaluate``.
    """
    steps = _steps_per_execution(model, callbacks)
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        add_progbar = verbose != 0
        callbacks = _TrueSteps(callbacks, add_progbar=add_progbar, model=model)
        callbacks.params = {"verbose": verbose, "epochs": 1}  # `begin` adds the steps.
    former, model.evaluation = model.evaluation, Evaluation(steps, callbacks)
    try:
        yield model.evaluation
    finally:
        model.evaluation = former


def _steps_per_execution(model, callbacks):
    if not model.chooses_steps:
        return model.steps_per_execution
    if model.runs_own("test"):
        return 1
    paces = [getattr(model.test_function, "pace", None)]
    if isinstance(callbacks, FitCallbacks):
        needs_single_steps = callbacks.see_batches("test")
        paces.append(callbacks.pace)
    else:
        listed = getattr(callbacks, "callbacks", callbacks) or ()
        needs_single_steps = workers_of(model).any(see_batches(listed, "test"))
    if needs_single_steps:
        return 1
    if _keras.strategy_of(model) is not None:  # The same number on each worker.
        return MOST_STEPS
    return min(MOST_STEPS, max([1, *(pace.steps for pace in paces if pace)]))


class _TrueSteps(keras.callbacks.CallbackList):
    """Keras's list of callbacks. It gives their hooks the number of the last batch evaluated."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        evaluation = self.model.evaluation
        is_counted = evaluation is not None and evaluation.steps > 0
        super().on_test_batch_end(evaluation.steps - 1 if is_counted else batch, logs)


class MultiStepTestFunction:
    """The test function of a `TapeModel`, which Keras calls once per execution.

    The number of batches is an input of the graph. So it may change between two evaluations, and
    an evaluation of ``steps`` batches ends exactly there.

    Attributes:
        pace: the `mnist_keras.model.pace.Pace` of the evaluations.
    """

    def __init__(self, model):
        self._model = model
        self._one_step: Any = self._test_step
        if not model.run_eagerly:
            self._one_step = graph_function(
                self._test_step, reduce_retracing=True, jit_compile=model.jit_compile
            )
        self.pace = Pace()
        self._loop = graph_function(self._run, reduce_retracing=True)
        self._array_loops = ArrayLoops(self._one_step_function, self._run_arrays)

    def __call__(self, iterator):
        """Evaluate the next batches, or fewer at the end of the data.

        Returns:
            The logs of the last batch, {name: scalar}: the metrics so far.

        Raises:
            StopIteration: no batch is left.
        """
        evaluation = self._model.evaluation
        count = 1 if evaluation is None else evaluation.next_count
        ran, logs = self.pace.timed(functools.partial(self._run_batches, iterator, count))
        if not ran:
            raise StopIteration
        if evaluation is not None:
            evaluation.count(ran)
        return logs

    def _run_batches(self, iterator, count):
        if isinstance(iterator, ArrayPass) and not self._model.run_eagerly:
            return self._cut_and_run(iterator, count)
        if isinstance(iterator, tf.data.Iterator) and not self._model.run_eagerly:
            # Traced here first, because variables cannot be created inside the loop.
            self._one_step_function(iterator.element_spec)
            ran, logs = self._loop(iterator, tf.constant(count))
            return int(ran), logs
        ran, logs = 0, {}
        for data in itertools.islice(iterator, count):
            ran, logs = ran + 1, self._one_step(data)
        return ran, logs

    def _test_step(self, data):
        logs = self._model.test_step(tf.nest.map_structure(none_where_absent, data))
        return {} if logs is None else logs

    def _one_step_function(self, batch_spec):
        return self._one_step.get_concrete_function(batch_spec)

    def _cut_and_run(self, data, count):
        window, ran = data.take(count)
        if not ran:
            return 0, {}
        return ran, self._array_loops.of(data.element_spec)(window, tf.constant(ran))

    def _run_arrays(self, step_function, batch, count):
        def body(step, going, logs, records):
            return step + 1, going, step_function(batch(step)), records

        _, logs, _ = loop(body, count, initial_logs(step_function.structured_outputs), {})
        return logs

    def _run(self, iterator, count):
        step_function = self._one_step_function(iterator.element_spec)

        def body(step, going, logs, records):
            del going
            batch = iterator.get_next_as_optional()
            return tf.cond(
                batch.has_value(),
                lambda: (step + 1, True, step_function(batch.get_value()), records),
                lambda: (step, False, logs, records),
            )

        ran, logs, _ = loop(body, count, initial_logs(step_function.structured_outputs), {})
        return ran, logs
