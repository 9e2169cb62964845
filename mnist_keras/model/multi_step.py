"""Many training steps in one call of the device."""

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.callbacks.step_observer import PartsFinder, StepObserver, tags
from mnist_keras.checkpoint import fingerprint
from mnist_keras.checkpoint.step_graph import StepGraph
from mnist_keras.data.array_batches import ArrayPass
from mnist_keras.distributed import replicas
from mnist_keras.errors import UsageError
from mnist_keras.model.array_loops import ArrayLoops
from mnist_keras.model.graph_function import graph_function

_FINGERPRINT = "fingerprint of the batch"
_EXAMPLES = "examples in the batch"
_IS_FINITE = "whether all losses are finite"


@dataclasses.dataclass
class StepRecord:
    """The values that one step records while it is traced.

    Attributes:
        is_due: bool scalar tensor: whether the gradient norms of the step are needed.
        losses: {name: scalar tensor}. Training stops at the first one that is not finite.
        gradient_norms, learning_rates: {name of the optimizer, or "": scalar tensor}.
        others: {name: scalar tensor}.
    """

    is_due: tf.Tensor
    losses: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)
    gradient_norms: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)
    learning_rates: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)
    others: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)

    def is_finite(self) -> tf.Tensor:
        """Whether all losses are finite, a bool scalar."""
        flags = [tf.math.is_finite(_number(loss)) for loss in self.losses.values()]
        if len(flags) == 1:
            return flags[0]
        return tf.reduce_all(flags) if flags else tf.constant(True)

    def add_gradient_norm(self, name: str, gradients: Any, *, scale: Any) -> None:
        """Add the norm of gradients; it is computed if it is due or if a loss is not finite.

        Args:
            name: that of the optimizer.
            gradients: a list of tensors and None.
            scale: what the loss was multiplied by.
        """
        present = [gradient for gradient in gradients if gradient is not None]
        if present:
            self.gradient_norms[name] = tf.cond(
                self.is_due | ~self.is_finite(),
                lambda: _global_norm(present) / scale,
                lambda: tf.constant(float("nan")),
            )

    def values(self) -> dict[str, tf.Tensor]:
        """The recorded values, {tag: float32 scalar}."""
        given = {
            **self.losses,
            **self.others,
            **tags("learning_rate", self.learning_rates),
            **tags("gradient_norm", self.gradient_norms),
        }
        return {tag: _number(value) for tag, value in given.items()}


def _number(value):
    return tf.reshape(tf.cast(value, tf.float32), ())


def _global_norm(gradients):
    return tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in gradients])


@dataclasses.dataclass(frozen=True)
class StepRecords:
    """The recorded values of the steps of one execution, still on the device.

    Attributes:
        first_step: number of the first step. Steps are counted from 0 over the model's training.
        values: {name: float32 (steps,)}: the losses before the update, such as ``loss``;
            ``learning_rate`` and ``gradient_norm``, or ``learning_rate/NAME`` and
            ``gradient_norm/NAME`` of several optimizers; and what else the step recorded. A norm is
            nan at steps for which no callback asked for it.
        loss_names: the names of the losses among them.

    Example:

    >>> records = StepRecords(6, {"loss": tf.constant([0.5, 0.25])})
    >>> float(records.at(7)["loss"])
    0.25
    """

    first_step: int
    values: dict
    loss_names: tuple[str, ...] = ("loss",)

    def at(self, step: int) -> dict[str, np.float32]:
        """The values of one step, {name: NumPy float32 scalar}."""
        return {name: value[step - self.first_step] for name, value in self._on_host.items()}

    def losses_at(self, step: int) -> dict[str, np.float32]:
        """The losses of one step, {name: NumPy float32 scalar}."""
        values = self.at(step)
        return {name: values[name] for name in self.loss_names if name in values}

    @property
    def losses(self) -> npt.NDArray[np.float32] | None:
        """The ``loss`` of each step, NumPy float32 (steps,); None if the steps recorded none."""
        return self._on_host.get("loss")

    @functools.cached_property
    def _on_host(self):
        return {name: value.numpy() for name, value in self.values.items()}


class MultiStepFunction:
    """The train function of a `TapeModel`, which Keras calls once per execution.

    Each step runs the model's ``train_step`` on one batch. Its losses, learning rates and gradient
    norms are written to ``model.step_records``: what the step gives to `TapeModel.record_step`, and
    what a `mnist_keras.callbacks.step_observer.StepObserver` sees of it.

    The graph cuts the batches of a stream and of arrays itself; it draws other batches from the
    data set's iterator. All steps run in the same graph, including the first ones, so that
    ``tf.random`` continues its sequence from step to step. Eager models and Python iterators run
    step by step.

    In ``fit`` of a `TapeModel`, an execution ends at every step at which a callback must see the
    model. So the results do not depend on the number of steps per execution.

    Attributes:
        fingerprints: int64 (steps,), the fingerprints of the batches of the last execution, 0 if
            not requested; None for a stream.
        examples: float32 (steps,), the examples in these batches, or 0 if a batch does not say;
            None for a stream and under a strategy.
        draws: how many batches the last execution drew; None: as many as it ran steps.
        counts_examples: whether it counts the examples in batches that are not of a stream.
    """

    counts_examples = True
    draws: int | None = None

    def __init__(self, model):
        self._model = model
        self._parts = PartsFinder(model)
        self._one_step: Any = self._recorded_step
        if not model.run_eagerly:
            self._one_step = graph_function(
                self._recorded_step, reduce_retracing=True, jit_compile=model.jit_compile
            )
        self.fingerprints = self.examples = None
        self._loss_names: dict[str, None] = {}  # In their order; of all traces.
        self._stream_loops = {}
        self._iterator_loop = graph_function(self._run_iterator, reduce_retracing=True)
        self._array_loops = ArrayLoops(self._one_step_function, self._run_arrays, flags=2)

    def __call__(self, iterator):
        """Run the next steps_per_execution steps, or fewer at the end of the data.

        Returns:
            The metrics so far in this epoch, {name: scalar}.

        Raises:
            StopIteration: no batch is left.
        """
        callbacks = self._model.fit_callbacks
        if callbacks is None:
            ran, logs = self.run(iterator, 0, self._model.steps_per_execution)
        elif callbacks.own_function is None:
            return callbacks.run_window(iterator, self.run)
        else:
            ran, logs = callbacks.own_function.run_inside(self.run, iterator)
        if ran == 0:
            raise StopIteration
        return logs

    def trace(self, batch_spec, *, builds):
        """Trace a step without running it. This creates all variables that the step uses.

        Args:
            batch_spec: the spec of a batch, made of ``tf.TensorSpec``.
            builds: whether the variables must be created now, also for an eager model.

        Returns:
            The `mnist_keras.checkpoint.step_graph.StepGraph`; None if the model is run eagerly.

        Raises:
            UsageError: an eager model is not built, and its step cannot be traced.
        """
        if not self._model.run_eagerly:
            return StepGraph(self._one_step_function(batch_spec))
        if builds and not is_wholly_built(self._model):
            try:
                step = graph_function(self._recorded_step)
                step.get_concrete_function(batch_spec, tf.TensorSpec([], tf.bool))
            except Exception as error:
                raise UsageError(
                    "a model that is run eagerly and is not built cannot be restored. Received: "
                    f"a step that cannot be traced ({type(error).__name__}). Expected: a built "
                    "model and optimizer, or run_eagerly=False."
                ) from error
        return None

    def run(self, iterator, begin, end, *, due=(), prints=(), stream=None):
        """Run the steps of the epoch from ``begin`` up to, but not including, ``end``.

        Args:
            iterator: gives the batches, unless there is a stream.
            begin, end: steps of the epoch, from 0.
            due: bools, one per step: whether its gradient norm is needed. Missing ones are false.
            prints: bools, one per step: whether the fingerprint of its batch is needed. Missing
                ones are false.
            stream: a `mnist_keras.data.stream.BatchStream`, whose batches the graph cuts itself.

        Returns:
            (number of steps run, logs of the last step). Fewer steps are run at the end of the data
            or when the stream has no more batches in memory. A step with a loss that is not finite
            is the last one.
        """
        count = end - begin
        length = max(count, self._model.steps_per_execution)
        due, prints = _padded(due, length), _padded(prints, length)
        one_by_one = self._model.run_eagerly
        if stream is not None and not one_by_one:
            window, end = self._window(stream, begin, end)
            count = end - begin
            ran, logs, records = self._stream_loop(stream)(
                window, tf.constant(begin), tf.constant(count), due
            )
        elif isinstance(iterator, ArrayPass) and not one_by_one:
            ran, logs, records = self._cut_and_run(iterator, count, due, prints)
        elif self._loops_over(iterator) and not one_by_one:
            ran, logs, records = self._iterator_loop(iterator, tf.constant(count), due, prints)
        else:
            ran, logs, records = self._run_one_by_one(iterator, count, due, prints)
        ran = int(ran)
        self.fingerprints = records.pop(_FINGERPRINT, None)
        self.examples = records.pop(_EXAMPLES, None)
        if ran < count:
            records = {name: values[:ran] for name, values in records.items()}
        names = tuple(name for name in self._loss_names if name in records)
        self._model.step_records = StepRecords(self._model.steps_trained, records, names)
        self._model.steps_trained += ran
        return ran, logs

    def _loops_over(self, iterator):
        return isinstance(iterator, tf.data.Iterator)

    def _window(self, stream, begin, end):
        return stream.window(begin, end)

    def _window_spec(self, stream):
        return stream.window_spec

    def _recorded_step(self, data, due):
        """Run one train_step and return (its logs, its record)."""
        model = self._model
        data = tf.nest.map_structure(none_where_absent, data)
        record, observer = StepRecord(due), StepObserver(self._parts.find())
        with observer.observing(), model.recording(record):
            logs = model.train_step(data)
        record.losses.update(observer.losses(logs, without=record.losses))
        record.learning_rates = record.learning_rates or observer.learning_rates
        if not record.gradient_norms or len(observer.applied) > 1:
            for name, (gradients, scale) in observer.applied.items():
                if name not in record.gradient_norms and _are_global(gradients):
                    record.add_gradient_norm(name, gradients, scale=scale)
        self._loss_names.update(dict.fromkeys(record.losses))
        logs = {} if logs is None else logs
        return logs, {**record.values(), _IS_FINITE: record.is_finite()}

    def _stream_loop(self, stream):
        if stream not in self._stream_loops:
            # The windows of a file differ in size, so the signature is given.
            self._stream_loops[stream] = tf.function(
                functools.partial(self._run_stream, stream),
                input_signature=[
                    self._window_spec(stream),
                    tf.TensorSpec([], tf.int32),
                    tf.TensorSpec([], tf.int32),
                    tf.TensorSpec([None], tf.bool),
                ],
                autograph=False,
            )
        return self._stream_loops[stream]

    def _run_stream(self, stream, window, begin, count, due):
        step_function = self._one_step_function(stream.element_spec)

        def run(step):
            return step_function(stream.batch(window, begin + step), due[step])

        return loop_steps(run, count, step_function)

    def _cut_and_run(self, data, count, due, prints):
        window, count = data.take(count)
        if not count:
            return 0, {}, {}
        return self._array_loops.of(data.element_spec)(window, tf.constant(count), due, prints)

    def _run_arrays(self, step_function, batch, count, due, prints):
        def run(step):
            data = batch(step)
            logs, record = step_function(data, due[step])
            return logs, with_facts(record, data, prints[step])

        return loop_steps(run, count, step_function, prints=True)

    def _run_iterator(self, iterator, count, due, prints):
        step_function = self._one_step_function(iterator.element_spec)
        logs, records = _first_values(step_function, count, prints=True)

        def body(step, going, logs, records):
            del going
            batch = iterator.get_next_as_optional()

            def train():
                data = batch.get_value()
                new_logs, record = step_function(data, due[step])
                going = record.pop(_IS_FINITE)
                record = with_facts(record, data, prints[step])
                return step + 1, going, new_logs, _write(records, step, record)

            return tf.cond(batch.has_value(), train, lambda: (step, False, logs, records))

        return loop(body, count, logs, records)

    def _run_one_by_one(self, iterator, count, due, prints):
        logs, rows = {}, []
        batches = itertools.islice(iterator, count)
        for data, is_due, needs_print in zip(batches, due, prints, strict=False):
            logs, record = self._one_step(data, tf.constant(is_due))
            going = record.pop(_IS_FINITE)
            rows.append(with_facts(record, data, tf.constant(needs_print)))
            if not going:
                break
        # An eager step may record other values than the step before it.
        names = dict.fromkeys(name for row in rows for name in row)
        records = {name: tf.stack([row.get(name, math.nan) for row in rows]) for name in names}
        return len(rows), logs, records

    def _one_step_function(self, batch_spec):
        return self._one_step.get_concrete_function(batch_spec, tf.TensorSpec([], tf.bool))


def is_wholly_built(model):
    """Whether every variable that a training step uses exists."""
    return (
        all(layer.built for layer in _keras.flatten_layers(model))
        and (model.optimizer is None or model.optimizer.built)
        and all(
            metric.built
            for metric in (_keras.compiled_metrics(model), _keras.compiled_loss(model))
            if metric
        )
    )


def loop_steps(run, count, step_function, *, prints=False):
    """Run ``count`` steps inside a graph, or fewer if a loss is not finite.

    Args:
        run: a function that takes the step, from 0, and returns its logs and its record.
        count: int32 scalar.
        step_function: a concrete function with outputs of the same structure.
        prints: whether the records also hold the facts about the batches.

    Returns:
        (number of steps run, logs of the last step, {name: values of all steps}).
    """

    def body(step, going, logs, records):
        del going
        logs, record = run(step)
        going = record.pop(_IS_FINITE)
        return step + 1, going, logs, _write(records, step, record)

    return loop(body, count, *_first_values(step_function, count, prints=prints))


def _first_values(step_function, count, *, prints):
    """The initial logs and records of a loop."""
    logs, record = step_function.structured_outputs
    zeros = initial_logs(logs)
    names = [name for name in record if name != _IS_FINITE]
    records = {name: tf.TensorArray(tf.float32, size=count) for name in names}
    if prints:
        records[_FINGERPRINT] = tf.TensorArray(tf.int64, size=count)
        records[_EXAMPLES] = tf.TensorArray(tf.float32, size=count)
    return zeros, records


def initial_logs(specs):
    """The logs before the first step, zeros; some of the shapes may be unknown."""
    return tf.nest.map_structure(_zeros, specs)


def _zeros(spec):
    if spec.shape.is_fully_defined():
        return tf.zeros(spec.shape, spec.dtype)
    sizes = [] if spec.shape.rank is None else [size or 0 for size in spec.shape]
    return tf.compat.v1.placeholder_with_default(tf.zeros(sizes, spec.dtype), spec.shape)


def loop(body, count, logs, records):
    """Run ``body`` at most ``count`` times; return (steps run, last logs, records)."""
    ran, _, logs, records = tf.while_loop(
        lambda step, going, *_: going & (step < count),
        body,
        (tf.constant(0), tf.constant(True), logs, records),
        parallel_iterations=1,
    )
    return ran, logs, {name: array.stack() for name, array in records.items()}


def _write(arrays, step, record):
    return {name: array.write(step, record[name]) for name, array in arrays.items()}


def _padded(flags, length):
    padded = np.zeros(length, bool)
    padded[: len(flags)] = flags
    return padded


def with_facts(record, data, is_needed):
    """Add the facts about a step's batch to its record: its size, its fingerprint if needed."""
    data = fingerprint.local(data)
    computed = tf.cond(
        is_needed, lambda: fingerprint.fingerprint(data), lambda: tf.constant(0, tf.int64)
    )
    return {**record, _FINGERPRINT: computed, _EXAMPLES: replicas.examples_if_known(data)}


def none_where_absent(value):
    """None for an absent part of a batch, which tf.data gives as an Optional."""
    return None if isinstance(value, tf.experimental.Optional) else value


def _are_global(gradients):
    """Whether gradients are known, and are those of the global batch."""
    replica = replicas.current()
    return gradients is not None and (
        replica is None
        or all(gradient is None or replica.reduces_by_sum(gradient) for gradient in gradients)
    )
