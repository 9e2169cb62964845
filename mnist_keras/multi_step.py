"""Many true training steps in one call of the device."""

import dataclasses
import itertools

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass
class StepRecord:
    """What one step gives while it is traced.

    Attributes:
        is_due: bool scalar tensor: whether its gradient norm is wanted.
        learning_rate, loss, gradient_norm: scalar tensors; None: the step gave none.
    """

    is_due: tf.Tensor
    learning_rate: tf.Tensor = None
    loss: tf.Tensor = None
    gradient_norm: tf.Tensor = None

    def values(self):
        """{name: float32 scalar} of what was given."""
        given = {
            "loss": self.loss,
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
        }
        return {k: tf.cast(value, tf.float32) for k, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class StepRecords:
    """What each of the steps just run gave, still on the device.

    Attributes:
        first_step: the first one's number, from 0 over all the training of the model.
        values: {name: float32 (steps,)}: ``loss`` before the update, ``learning_rate``, and
            ``gradient_norm``, which is nan at the steps for which no callback asked.
    """

    first_step: int
    values: dict

    def at(self, step):
        """The values of one step, {name: NumPy float32 scalar}."""
        return {name: value[step - self.first_step].numpy() for name, value in self.values.items()}

    @property
    def losses(self):
        """The loss of each step, NumPy float32 (steps,); None: the steps gave none."""
        return self.values["loss"].numpy() if "loss" in self.values else None


class MultiStepFunction:
    """The train function of a `TapeModel`: what Keras calls once per execution.

    Each step runs the model's own ``train_step`` on its own batch and leaves its loss, learning
    rate and gradient norm in ``model.step_records``. Batches of a stream are cut inside the graph;
    those of any other data set are drawn from its iterator there. Eager models, models that are
    not built yet and Python iterators run step by step.

    Where ``fit`` of a `TapeModel` drives, an execution is cut at every step at which a callback
    wants to see the model, so that no number depends on how many steps an execution has.
    """

    def __init__(self, model):
        self._model = model
        self._one_step = self._recorded_step
        if not model.run_eagerly:
            self._one_step = tf.function(
                self._recorded_step,
                autograph=False,
                reduce_retracing=True,
                jit_compile=model.jit_compile,
            )
        self._stream_loop = tf.function(self._run_stream, autograph=False)
        self._iterator_loop = tf.function(
            self._run_iterator, autograph=False, reduce_retracing=True
        )

    def __call__(self, iterator):
        """Run the next steps_per_execution steps, fewer at the end of the data.

        Returns:
            The metrics so far in this epoch, {name: scalar}.

        Raises:
            StopIteration: no batch is left.
        """
        callbacks = self._model.fit_callbacks
        if callbacks is not None:
            return callbacks.run_window(iterator, self.run)
        ran, logs = self.run(iterator, 0, self._model.steps_per_execution)
        if ran == 0:
            raise StopIteration
        return logs

    def run(self, iterator, begin, end, *, due=(), stream=None):
        """Run the steps from ``begin`` to before ``end`` of the epoch.

        Args:
            iterator: where the batches come from, unless there is a stream.
            begin, end: steps of the epoch, from 0.
            due: bools, one a step: whether its gradient norm is wanted. Missing ones are false.
            stream: a `mnist_keras.data.stream.BatchStream`, whose batches the graph cuts itself.

        Returns:
            (how many ran, the last one's logs); fewer than asked for at the end of the data, or
            where a loss was not finite: that step is the last one.
        """
        count = end - begin
        padded = np.zeros(max(count, self._model.steps_per_execution), bool)
        padded[: len(due)] = due
        one_by_one = self._model.run_eagerly or not is_wholly_built(self._model)
        if stream is not None and not one_by_one:
            ran, logs, records = self._stream_loop(
                stream, *stream.tensors(), tf.constant(begin), tf.constant(count), padded
            )
        elif isinstance(iterator, tf.data.Iterator) and not one_by_one:
            ran, logs, records = self._iterator_loop(iterator, tf.constant(count), padded)
        else:
            ran, logs, records = self._run_one_by_one(iterator, count, padded)
        ran = int(ran)
        if ran < count:
            records = {name: values[:ran] for name, values in records.items()}
        self._model.step_records = StepRecords(self._model.steps_trained, records)
        self._model.steps_trained += ran
        return ran, logs

    def _recorded_step(self, data, due):
        """One train_step; returns its logs and its record."""
        model = self._model
        data = tf.nest.map_structure(_none_where_absent, data)
        record = StepRecord(due, learning_rate=_learning_rate(model.optimizer))
        with model.recording(record):
            logs = model.train_step(data)
        if record.loss is None:
            record.loss = logs.get("loss")
        return logs, record.values()

    def _run_stream(self, stream, images, labels, order, begin, count, due):
        step_function, logs, records = self._loop_start(stream.element_spec, count)

        def body(step, going, logs, records):
            del going
            data = stream.batch((images, labels, order), begin + step)
            logs, record = step_function(data, due[step])
            return step + 1, _is_finite(record), logs, _write(records, step, record)

        return _loop(body, count, logs, records)

    def _run_iterator(self, iterator, count, due):
        step_function, logs, records = self._loop_start(iterator.element_spec, count)

        def body(step, going, logs, records):
            del going
            batch = iterator.get_next_as_optional()

            def train():
                new_logs, record = step_function(batch.get_value(), due[step])
                return step + 1, _is_finite(record), new_logs, _write(records, step, record)

            return tf.cond(batch.has_value(), train, lambda: (step, False, logs, records))

        return _loop(body, count, logs, records)

    def _run_one_by_one(self, iterator, count, due):
        logs, rows = {}, []
        for data, step_is_due in zip(itertools.islice(iterator, count), due, strict=False):
            logs, record = self._one_step(data, tf.constant(step_is_due))
            rows.append(record)
            if not _is_finite(record):
                break
        records = {name: tf.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
        return len(rows), logs, records

    def _loop_start(self, batch_spec, count):
        """The step as one traced function, and the loop's first logs and records."""
        step_function = self._one_step.get_concrete_function(batch_spec, tf.TensorSpec([], tf.bool))
        logs, record = step_function.structured_outputs
        zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), logs)
        arrays = {name: tf.TensorArray(tf.float32, size=count) for name in record}
        return step_function, zeros, arrays


def is_wholly_built(model):
    """Whether every variable that a training step uses has been made."""
    return (
        all(layer.built for layer in model._flatten_layers())
        and (model.optimizer is None or model.optimizer.built)
        and all(metric.built for metric in (model._compile_metrics, model._compile_loss) if metric)
    )


def _loop(body, count, logs, records):
    """Run ``body`` at most ``count`` times; (how many steps ran, the last logs, the records)."""
    ran, _, logs, records = tf.while_loop(
        lambda step, going, *_: going & (step < count),
        body,
        (tf.constant(0), tf.constant(True), logs, records),
        parallel_iterations=1,
    )
    return ran, logs, {name: array.stack() for name, array in records.items()}


def _is_finite(record):
    return tf.math.is_finite(record["loss"]) if "loss" in record else tf.constant(True)


def _write(arrays, step, record):
    return {name: array.write(step, record[name]) for name, array in arrays.items()}


def _none_where_absent(value):
    return None if isinstance(value, tf.experimental.Optional) else value


def _learning_rate(optimizer):
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return None if inner is None else keras.ops.convert_to_tensor(inner.learning_rate)
