"""Many training steps per call of the train function, on several devices and machines."""

import functools
import itertools

import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.callbacks.loss_tracker import loss_tracker
from mnist_keras.callbacks.step_observer import Parts
from mnist_keras.distributed import replicas
from mnist_keras.distributed.global_batch import layers_use_global_batch
from mnist_keras.errors import UsageError
from mnist_keras.model.graph_function import graph_function
from mnist_keras.model.multi_step import MultiStepFunction, loop_steps, with_facts

_EXAMPLES = "examples in the epoch"


class ReplicatedStepFunction(MultiStepFunction):
    """`MultiStepFunction` under a ``tf.distribute`` strategy.

    The replicas of the strategy share each batch. The record of a step is the same on every
    replica and describes the global batch. Metrics are reduced over replicas once per execution.

    Raises:
        UsageError: there are several replicas, and the model is compiled for XLA or with a loss
            that is not a mean over the batch.
    """

    counts_examples = False  # The model's loss tracker does.

    def __init__(self, model):
        super().__init__(model)
        self._strategy = model.distribute_strategy
        self._copies = {}
        if self._strategy.num_replicas_in_sync > 1:
            if model.jit_compile:
                raise UsageError(
                    "XLA cannot compile collectives between replicas. Received: jit_compile=True, "
                    f"{self._strategy.num_replicas_in_sync} replicas. Expected: jit_compile=False."
                )
            replicas.require_mean_losses(model)
        self._one_step = self._in_graph(self._run_on_data)
        self._read_metrics = self._in_graph(functools.partial(read_metrics, model))
        self._metric_names: tuple[str, ...] = ()

    def _in_graph(self, function):
        if self._model.run_eagerly:
            return function
        return graph_function(function, reduce_retracing=True)

    def _loops_over(self, iterator):
        # Data of unknown length end with an error, which would discard the results of the loop.
        callbacks = self._model.fit_callbacks
        knows_length = callbacks is not None and callbacks.knows_length
        return isinstance(iterator, tf.distribute.DistributedIterator) and knows_length

    def _window(self, stream, begin, end):
        """A window for each replica of this worker, on the device of the replica."""
        window, end = stream.window(begin, end)
        devices = self._strategy.extended.worker_devices
        if len(devices) == 1:
            return (window,), end
        former, self._copies = self._copies, {}
        windows = tuple(
            type(window)(*(self._copy(part, device, former) for part in window))
            for device in devices
        )
        return windows, end

    def _copy(self, tensor, device, former):
        """A copy of a tensor on a device, reused if the previous window has the same tensor."""
        key = id(tensor), device
        if key not in former:
            with tf.device(device):
                former[key] = tensor, tf.identity(tensor)
        self._copies[key] = former[key]
        return former[key][1]

    def _window_spec(self, stream):
        return (stream.window_spec,) * len(self._strategy.extended.worker_devices)

    def _run_stream(self, stream, windows, begin, count, due):
        def step(number, is_due):
            def part(replica):
                if replica is None:
                    return stream.batch(windows[0], number)
                return stream.batch(windows[replica - first], number, replica=replica)

            def place(replica):
                return stream.begin(number, replica=replica), stream.size(number)

            return self._on_replicas(part, place=place, is_even=stream.cuts_evenly, due=is_due)

        first = replicas.shard_of_worker(self._strategy).first_replica
        spec = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool)
        # If the step is inlined into the loop, TensorFlow's choice of kernels varies from run to
        # run: the gradient of a pooling layer can then be five times slower on some workers.
        step_function = tf.function(
            step, autograph=False, experimental_attributes=_keras.NOT_INLINED
        ).get_concrete_function(*spec)

        def run(index):
            return step_function(begin + index, due[index])

        return self._with_current_metrics(*loop_steps(run, count, step_function))

    def _run_iterator(self, iterator, count, due, prints):
        step_function = self._one_step_function(iterator.element_spec)

        def run(index):
            data = iterator.get_next()
            logs, record = step_function(data, due[index])
            return logs, with_facts(record, data, prints[index])

        return self._with_current_metrics(*loop_steps(run, count, step_function, prints=True))

    def _run_one_by_one(self, iterator, count, due, prints):
        ran, logs, records = super()._run_one_by_one(iterator, count, due, prints)
        return ran, self._with_metrics(logs, self._read_metrics()) if ran else {}, records

    def _with_current_metrics(self, ran, logs, records):
        return ran, self._with_metrics(logs, read_metrics(self._model)), records

    def _with_metrics(self, logs, metrics):
        metrics, examples = metrics
        return {**logs, **{name: metrics[name] for name in self._metric_names}, _EXAMPLES: examples}

    def run(self, *args, **kwargs):
        ran, logs = super().run(*args, **kwargs)
        self.examples = None  # They are those of one replica.
        self._model.examples_in_epoch = logs.pop(_EXAMPLES, self._model.examples_in_epoch)
        return ran, logs

    def _run_on_data(self, data, due):
        """Run a step on a distributed batch, or on the same tensors on each replica."""
        count = self._strategy.num_replicas_in_sync

        def own_size(data):
            size = tf.cast(replicas.example_count(data), tf.float32)
            return size * tf.one_hot(replicas.replica_id(), count)

        sizes = self._strategy.run(own_size, args=(data,))
        sizes = tf.cast(self._strategy.reduce("SUM", sizes, axis=None), tf.int32)

        def place(replica):
            return tf.reduce_sum(sizes[:replica]), tf.reduce_sum(sizes)

        return self._on_replicas(
            lambda replica, data: data, data, place=place, is_even=False, due=due
        )

    def _on_replicas(self, part, *args, place, is_even, due):
        """Run one step on every replica.

        Args:
            part: a function that returns a replica's shard of the batch. It takes the replica's id,
                or None if there is only one replica, and the replica's parts of ``args``.
            place: a function that takes the id and returns (position of the shard in the batch,
                number of examples in the global batch).
            is_even: whether the shards of every batch have the same size.
            due: as for `MultiStepFunction.run`, for this step.

        Returns:
            (the values that ``train_step`` returns besides metrics, the record), reduced over all
            replicas.
        """
        count = self._strategy.num_replicas_in_sync

        def step(*args):
            replica_id = replicas.replica_id() if count > 1 else None
            data, replica = part(replica_id, *args), None
            if count > 1:
                begin, global_batch_size = place(replica_id)
                replica = replicas.Replica(
                    begin=begin,
                    size=replicas.example_count(data),
                    global_batch_size=global_batch_size,
                    is_even=is_even,
                )
            with replicas.tracing(replica):
                logs, record = self._recorded_step(data, due)
                metrics = self._model.get_metrics_result().keys()
                # A user's train_step may return the batch's loss under the metric's name.
                self._metric_names = tuple(
                    name
                    for name, value in logs.items()
                    if name in metrics and not (replica and replica.reduces_by_sum(value))
                )
                others = {n: value for n, value in logs.items() if n not in self._metric_names}
                if replica is not None:
                    values = replica.all_reduce([tf.convert_to_tensor(v) for v in others.values()])
                    others = dict(zip(others, values, strict=True))
                return others, record

        model = self._model
        # Hooked before the rest is patched, so that weighted losses and summed gradients are seen.
        parts = Parts.of(model)
        with (
            self._strategy.scope(),
            layers_use_global_batch(model),
            parts.hooked(),
            replicas.replicated_updates(model.optimizer),
            replicas.weighted_output_losses(model),
        ):
            results = self._strategy.run(step, args=args)
        local = self._strategy.experimental_local_results
        return tf.nest.map_structure(lambda result: local(result)[0], results)


class ReplicatedTestFunction:
    """The test function of a `TapeModel` under a strategy; Keras's lacks support for workers."""

    def __init__(self, model):
        self._model = model
        self._step, self._read_metrics = self._run_step, functools.partial(read_metrics, model)
        if not model.run_eagerly:
            self._step = graph_function(self._step, reduce_retracing=True)
            self._read_metrics = graph_function(self._read_metrics)

    def __call__(self, iterator):
        """Evaluate the next batches, or fewer at the end of the data.

        Returns:
            The metrics so far, {name: scalar}, over all replicas.

        Raises:
            StopIteration: no batch is left.
        """
        ran, evaluation = 0, self._model.evaluation
        for data in itertools.islice(iterator, 1 if evaluation is None else evaluation.next_count):
            self._step(data)
            ran += 1
        if not ran:
            raise StopIteration
        if evaluation is not None:
            evaluation.count(ran)
        return self._read_metrics()[0]

    def _run_step(self, data):
        strategy = self._model.distribute_strategy
        with strategy.scope(), replicas.weighted_output_losses(self._model):
            strategy.run(self._test_step, args=(data,))

    def _test_step(self, data):
        context, replica = tf.distribute.get_replica_context(), None
        if context.num_replicas_in_sync > 1 and replicas.output_loss_trackers(self._model):
            size = replicas.example_count(data)
            total = tf.cast(context.all_reduce("SUM", tf.cast(size, tf.float32)), tf.int32)
            replica = replicas.Replica(
                begin=None, size=size, global_batch_size=total, is_even=False
            )
        with replicas.tracing(replica):
            self._model.test_step(data)


def read_metrics(model):
    """The metrics over all replicas and the number of examples; a collective call.

    Returns:
        ({name: scalar}, float32 scalar).
    """
    with model.distribute_strategy.scope():
        tracker = loss_tracker(model)
        examples = tf.constant(0.0) if tracker is None else tf.convert_to_tensor(tracker.count)
        return model.get_metrics_result(), examples
