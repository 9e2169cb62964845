"""Many true steps on several devices and machines in one call of them."""

import functools
import itertools

import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.callbacks.loss_tracker import loss_tracker
from mnist_keras.distributed import replicas
from mnist_keras.distributed.replicas import same_updates
from mnist_keras.distributed.whole_batch import seen_by_layers
from mnist_keras.errors import UsageError
from mnist_keras.model.multi_step import MultiStepFunction, loop_steps, with_fingerprint

_EXAMPLES = "examples in the epoch"


class ReplicatedStepFunction(MultiStepFunction):
    """As `MultiStepFunction`, under a ``tf.distribute`` strategy.

    The replicas of the strategy share each batch; each step's record is that of the whole batch, on
    every replica. Metrics are read over all replicas once per execution.

    Raises:
        UsageError: the model is compiled with what several replicas cannot do.
    """

    def __init__(self, model):
        super().__init__(model)
        self._strategy = model.distribute_strategy
        self._copies = {}
        if self._strategy.num_replicas_in_sync > 1:
            if model.jit_compile:
                raise UsageError(
                    "XLA does not compile what replicas exchange. Received: jit_compile=True, "
                    f"{self._strategy.num_replicas_in_sync} replicas. Expected: jit_compile=False."
                )
            replicas.require_mean_losses(model)
        self._one_step = self._in_graph(self._run_on_data)
        self._read_metrics = self._in_graph(functools.partial(read_metrics, model))
        self._metric_names: tuple[str, ...] = ()

    def _in_graph(self, function):
        if self._model.run_eagerly:
            return function
        return tf.function(function, autograph=False, reduce_retracing=True)

    def _loops_over(self, iterator):
        # Where the length is not known the end is found by running into it, which loses the loop.
        callbacks = self._model.fit_callbacks
        knows_length = callbacks is not None and callbacks.knows_length
        return isinstance(iterator, tf.distribute.DistributedIterator) and knows_length

    def _window(self, stream, begin, end):
        """A window for each replica of this worker, on its device."""
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
        """A tensor on a device; what was copied for the window before is not copied again."""
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

        first = replicas.share_of_worker(self._strategy).first
        spec = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool)
        # Where it is a part of the loop's graph, TensorFlow's choice of kernels depends on chance:
        # the gradient of a pooling is then five times as slow on some workers.
        step_function = tf.function(
            step, autograph=False, experimental_attributes=_keras.NOT_INLINED
        ).get_concrete_function(*spec)

        def run(index):
            return step_function(begin + index, due[index])

        return self._whole(*loop_steps(run, count, step_function))

    def _run_iterator(self, iterator, count, due, prints):
        step_function = self._one_step_function(iterator.element_spec)

        def run(index):
            data = iterator.get_next()
            logs, record = step_function(data, due[index])
            return logs, with_fingerprint(record, data, prints[index])

        return self._whole(*loop_steps(run, count, step_function, prints=True))

    def _run_one_by_one(self, iterator, count, due, prints):
        ran, logs, records = super()._run_one_by_one(iterator, count, due, prints)
        return ran, self._with_metrics(logs, self._read_metrics()) if ran else {}, records

    def _whole(self, ran, logs, records):
        return ran, self._with_metrics(logs, read_metrics(self._model)), records

    def _with_metrics(self, logs, metrics):
        metrics, examples = metrics
        return {**logs, **{name: metrics[name] for name in self._metric_names}, _EXAMPLES: examples}

    def run(self, *args, **kwargs):
        ran, logs = super().run(*args, **kwargs)
        self._model.examples_in_epoch = logs.pop(_EXAMPLES, self._model.examples_in_epoch)
        return ran, logs

    def _run_on_data(self, data, due):
        """A step on what a distributed iterator gives, or on the same batch on each replica."""
        count = self._strategy.num_replicas_in_sync

        def own_size(data):
            size = tf.cast(replicas.example_count(data), tf.float32)
            return size * tf.one_hot(replicas.number(), count)

        sizes = self._strategy.run(own_size, args=(data,))
        sizes = tf.cast(self._strategy.reduce("SUM", sizes, axis=None), tf.int32)

        def place(replica):
            return tf.reduce_sum(sizes[:replica]), tf.reduce_sum(sizes)

        return self._on_replicas(
            lambda replica, data: data, data, place=place, is_even=False, due=due
        )

    def _on_replicas(self, part, *args, place, is_even, due):
        """One step on every replica.

        Args:
            part: a function of a replica's number, None where there is one alone, and of its parts
                of ``args``; gives its part of the batch.
            place: a function of the number, (where its part begins, examples in the batch).
            is_even: whether the parts are of one size.
            due: as for `MultiStepFunction.run`, of this step.

        Returns:
            (what ``train_step`` returns beside metrics, the record): over all replicas.
        """
        count = self._strategy.num_replicas_in_sync

        def step(*args):
            number = replicas.number() if count > 1 else None
            data, replica = part(number, *args), None
            if count > 1:
                (begin, batch_size), size = place(number), replicas.example_count(data)
                replica = replicas.Replica(
                    begin=begin, size=size, batch_size=batch_size, is_even=is_even
                )
            with replicas.tracing(replica):
                logs, record = self._recorded_step(data, due)
                metrics = self._model.get_metrics_result().keys()
                # A step of one's own may give the batch's loss under the metric's name.
                self._metric_names = tuple(
                    name
                    for name, value in logs.items()
                    if name in metrics and not (replica and replica.is_of_batch(value))
                )
                others = {n: value for n, value in logs.items() if n not in self._metric_names}
                if replica is not None:
                    values = replica.over_all([tf.convert_to_tensor(v) for v in others.values()])
                    others = dict(zip(others, values, strict=True))
                return others, record

        model = self._model
        with (
            self._strategy.scope(),
            seen_by_layers(model),
            same_updates(model.optimizer),
            replicas.weighed_outputs(model),
        ):
            results = self._strategy.run(step, args=args)
        own = self._strategy.experimental_local_results
        return tf.nest.map_structure(lambda result: own(result)[0], results)

    def _loss_of(self, logs):
        loss, replica = super()._loss_of(logs), replicas.current()
        if loss is None or replica is None:
            return loss
        if "loss" in self._model.get_metrics_result():
            return replica.over_all([loss])[0]
        return replica.sum([loss])[0]  # Made of the parts that `compute_loss` gave.


class ReplicatedTestFunction:
    """The test function of a `TapeModel` under a strategy: Keras's own takes no several workers."""

    def __init__(self, model):
        self._model = model
        self._step, self._read_metrics = self._run_step, functools.partial(read_metrics, model)
        if not model.run_eagerly:
            self._step = tf.function(self._step, autograph=False, reduce_retracing=True)
            self._read_metrics = tf.function(self._read_metrics, autograph=False)

    def __call__(self, iterator):
        """Evaluate the next steps_per_execution batches, fewer at the end of the data.

        Returns:
            The metrics so far, {name: scalar}, over all replicas.

        Raises:
            StopIteration: no batch is left.
        """
        ran = 0
        for data in itertools.islice(iterator, self._model.steps_per_execution):
            self._step(data)
            ran += 1
        if not ran:
            raise StopIteration
        return self._read_metrics()[0]

    def _run_step(self, data):
        strategy = self._model.distribute_strategy
        with strategy.scope(), replicas.weighed_outputs(self._model):
            strategy.run(self._test_step, args=(data,))

    def _test_step(self, data):
        context, replica = tf.distribute.get_replica_context(), None
        if context.num_replicas_in_sync > 1 and replicas.output_trackers(self._model):
            size = replicas.example_count(data)
            whole = tf.cast(context.all_reduce("SUM", tf.cast(size, tf.float32)), tf.int32)
            replica = replicas.Replica(begin=None, size=size, batch_size=whole, is_even=False)
        with replicas.tracing(replica):
            self._model.test_step(data)


def read_metrics(model):
    """({name: scalar} of a model's metrics, examples in them), over all replicas.

    All workers have to ask.
    """
    with model.distribute_strategy.scope():
        tracker = loss_tracker(model)
        examples = tf.constant(0.0) if tracker is None else tf.convert_to_tensor(tracker.count)
        return model.get_metrics_result(), examples
