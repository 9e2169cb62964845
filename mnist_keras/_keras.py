"""Every private name of Keras and TensorFlow that this package uses, and every patch of Keras.

No other file may use one; a test checks that. A library may move a private name with any minor
version. tests/test_keras_names.py has a test for each name in this table. It fails where the
library has moved the name, and where the name no longer does what is needed here.

Of ``keras.src``:

- ``backend.IS_THREAD_SAFE``: not used here, but false with TensorFlow, and has to be: a
  ``CallbackList`` would otherwise call callbacks in another thread, while the next steps run.
- ``backend.get_keras_mask``, ``backend.set_keras_mask``: a batch that is split and joined again
  would lose its mask, and a masked loss is not a mean over the batch.
- ``backend.random.dropout``: patched by `replaced_dropout`, as replicas draw for the global batch.
- ``backend.common.global_state``, ``random.seed_generator``: have the generator of ``keras.random``
  without a seed, whose state a checkpoint saves.
- ``models.functional.Functional``: ``keras.Model(inputs, outputs)`` is one, so
  ``TapeModel(inputs, outputs)`` has to be one too.
- ``optimizers.base_optimizer.BaseOptimizer``: has the update that does not look at the strategy.
- ``trainers.data_adapters``: tells the kinds of data that ``fit`` takes apart, which are resumed
  differently.
- ``trainers.data_adapters.data_adapter.DataAdapter``: ``fit`` takes any of them as its ``x``. It
  would shuffle the batches of a ``PyDataset``.
- ``trainers.epoch_iterator.EpochIterator``: its ``num_batches`` and ``data_adapter`` give
  ``TapeModel._maybe_symbolic_build`` the steps in an epoch and the form of a batch. `EpochIterator`
  wraps it.

Private attributes of Keras:

- ``ArrayDataAdapter._num_samples``, ``._shuffle``, ``GrainDatasetAdapter._dataset``,
  ``TorchDataLoaderAdapter._dataloader``, ``PyDatasetAdapter.enqueuer``, ``.py_dataset``: the user's
  data and how Keras draws from them, which `EpochIterator` needs to draw the same again.
- ``ArrayDataAdapter._batch_size``, ``._inputs``, ``._partial_batch_size``: with the indices as its
  inputs and all of them in one batch, it gives the order in which Keras shuffles.
- ``EpochIterator._current_iterator``, ``._distributed_dataset``, ``._enumerate_iterator``,
  ``._get_iterator``, ``._num_batches``, ``._steps_seen``: where Keras is in the data, which
  `EpochIterator` restores and counts.
- ``EpochIterator._interrupted_warning``: an execution of many steps may end with the data, which
  Keras would not notice.
- ``Layer._call_has_training_arg``: a ``call`` without ``training`` must not get it.
- ``Layer._flatten_layers``: ``Model.layers`` leaves out nested layers.
- ``Metric._direction``: says whether higher or lower values of a metric are better, "up" or "down".
- ``Model._compile_loss``, ``._compile_metrics``: a model is built once they are, and the former
  holds the mean of each output's loss.
- ``Model._distribute_strategy``: the public ``distribute_strategy`` is TensorFlow's default one
  for a model without a strategy.
- ``Model._initial_epoch``: with which epoch ``fit`` begins; a callback can set it nowhere else.
- ``Model._loss_tracker``: a ``train_step`` that replaces Keras's has to update it.
- ``Model._maybe_symbolic_build``: overridden in ``TapeModel``: ``fit`` has no public hook between
  creating the data's iterator and calling the first callback.
- ``Model._symbolic_build``: builds model, metrics and optimizer without running a step.
- ``Model._unpickle_model``: ``TapeModel.__reduce__`` names it for a class that pickle can find.
- ``ModelCheckpoint._batches_seen_since_last_saving``, ``._last_batch_seen``: a resumed run has to
  count on from them.
- ``Optimizer._learning_rate``: the public ``learning_rate`` gives the value of a schedule, not the
  schedule, which has to be put back after a sweep of the rate.
- ``Optimizer._apply_weight_decay``, ``._backend_increment_gradient_accumulators``,
  ``._backend_update_step``, ``._overwrite_model_variables_with_average_value``: patched by
  `updates_without_strategy`.

- ``Progbar._last_update``, ``._prev_total_width``: say whether Keras's progress bar stands on the
  line on which a callback prints, and how wide it is.

Patches of Keras's public methods, and an attribute that is set while a step is traced:

- ``BatchNormalization.synchronized``: set by `synchronized_normalization`.
- ``Layer.call``: patched by `replaced_call`.
- ``Metric.result``: patched by `hooked`, to know which log is the result of which metric.
- ``Metric.update_state``: patched by `replaced_update_state`, and by `hooked`, to know what one
  step gives to a metric.
- ``Optimizer.apply``: patched by `updates_without_strategy`, and by `hooked`, to know which
  optimizers a step applies.
- ``ProgbarLogger.on_epoch_end``: followed by `after`: there the line of the bar ends.

Local variables of Keras's functions, which `calling_list` and `running_epochs` look for:

- ``CallbackList.on_train_begin.self``: a callback is told nothing about the others.
- ``Model.fit.epoch_iterator``: nor about the data.

Of TensorFlow:

- ``CoordinatedJob``, ``context().configure_coordination_service``: ``MultiWorkerMirroredStrategy``
  would wait an hour for a worker that does not come, and has no argument to change that.
- ``context().report_error_to_cluster``: the other workers learn why one of them ends.
- ``context().global_seed``: the seed that ``tf.random.set_seed`` has set; it cannot be read
  otherwise.
- ``context()._rng``: draws the seeds of eager operations; a checkpoint saves its state.
- ``context().clear_kernel_cache``: an eager operation with the same seed continues its sequence,
  unless it is made anew.
- ``stateful_random_ops.global_generator``, ``stateful_random_ops.get_global_generator``: the public
  function makes a generator where there is none, which reading must not do.
- ``AtomicFunction.graph``, ``Graph._get_function``: an inner ``tf.function`` may return a metric's
  result, which only the graph of that function shows.
- ``Function._list_all_concrete_functions``: only the graphs of a train function that was traced
  show whether it draws random numbers whose state is lost if it is traced again.
- ``IteratorSpec._element_spec``: the type of the data that a plain model trains on, which the
  examples shown by callbacks are compared with.
- ``Dataset._as_serialized_graph``, ``ExternalStatePolicy``, ``GraphDef``: only the graph of a
  pipeline shows what it draws from.
- ``Dataset._deterministic``, ``._functions``, ``._inputs``, ``._seed``, ``._seed2``, ``._tensors``:
  the same from the Python objects, as the graph of ``from_tensor_slices`` holds copies of the
  arrays. ``_tensors`` also has the arrays that Keras made tensors of.
- ``DistributedDataset._original_dataset``: the pipeline that a strategy distributes.
- ``_noinline``: keeps a function apart in the graph that calls it.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

try:
    from keras.src import backend
    from keras.src.backend.common import global_state
    from keras.src.models.functional import Functional
    from keras.src.optimizers.base_optimizer import BaseOptimizer
    from keras.src.random import seed_generator
    from keras.src.trainers import data_adapters, epoch_iterator
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter
    from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.python.data.ops.options import ExternalStatePolicy
    from tensorflow.python.eager import context
    from tensorflow.python.ops import stateful_random_ops
except ImportError as error:
    raise ImportError(
        f"Keras {keras.__version__} or TensorFlow {tf.__version__} changed a private name: see "
        f"mnist_keras/_keras.py. Received: {error}. Expected: versions that setup.py allows."
    ) from error

__all__ = ["DataAdapter", "Functional"]

# Keras saves no callback's state. These attributes are all that the callback itself changes.
CALLBACK_STATE = {
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        "best",
        "_batches_seen_since_last_saving",
        "_last_batch_seen",
    ),
}

# Where keras.random keeps its generator; Keras 3.12 has no constant for it.
_KERAS_GENERATOR = "global_seed_generator"
_OF_KERAS, _OF_TENSORFLOW = "keras.random without a seed", "tf.random.get_global_generator()"

# {(id of an owner, name): [how often it is hooked now, what the owner itself had before]}.
_HOOKS: dict[tuple[int, str], list[Any]] = {}
_HOOKS_LOCK = threading.Lock()
_NOTHING = object()

# For the experimental_attributes of tf.function.
NOT_INLINED = {"_noinline": True}

# In these, Keras merges the replicas, which TensorFlow does not allow inside a condition.
_STRATEGY_AWARE = (
    "_backend_update_step",
    "_apply_weight_decay",
    "_backend_increment_gradient_accumulators",
    "_overwrite_model_variables_with_average_value",
)


def flatten_layers(layer: keras.Layer) -> list[keras.Layer]:
    """A layer or model, and every layer nested in it."""
    return layer._flatten_layers()


def has_sublayers(layer: keras.Layer) -> bool:
    """Whether other layers are nested in a layer."""
    return len(layer._flatten_layers()) > 1


def takes_training_argument(layer: keras.Layer) -> bool:
    """Whether the ``call`` of a layer or model has an argument ``training``."""
    return layer._call_has_training_arg


def mask_of(tensor: Any) -> Any:
    """The mask that a layer attached to a tensor, or None."""
    return backend.get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, as a layer does."""
    backend.set_keras_mask(tensor, mask)


def compiled_loss(model: keras.Model) -> Any:
    """What ``compile`` made of its ``loss``, or None; its ``metrics`` are the outputs' losses."""
    return model._compile_loss


def compiled_metrics(model: keras.Model) -> Any:
    """The metric that ``compile`` made of its ``metrics``, or None."""
    return model._compile_metrics


def metric_directions(model: keras.Model) -> dict[str, str | None]:
    """{metric's own name: "up", "down", or None if it does not say} of a model's metrics."""
    compiled = compiled_metrics(model)
    own = [metric for metric in model.metrics if metric is not compiled]
    metrics = [*(compiled.metrics if compiled else []), *own]
    return {metric.name: getattr(metric, "_direction", None) for metric in reversed(metrics)}


def loss_tracker(model: keras.Model) -> keras.metrics.Metric:
    """The mean of the loss over the epoch, of a compiled model."""
    return model._loss_tracker


def strategy_of(model: keras.Model) -> Any:
    """The ``tf.distribute`` strategy in whose scope a model was made, or None."""
    return model._distribute_strategy


def build_symbolically(model: keras.Model, data_batch: Any) -> None:
    """Build a compiled model, its metrics and its optimizer, without running a step.

    Args:
        model: the model.
        data_batch: a batch, or a structure of ``tf.TensorSpec`` like one.
    """
    model._symbolic_build(data_batch=data_batch)


def unpickler_of(model_class: type) -> Callable[[Any], Any]:
    """The function that makes a model of this class from what ``keras.Model`` pickled."""
    return model_class._unpickle_model  # type: ignore[attr-defined]  # Of keras.Model.


@contextlib.contextmanager
def replaced_dropout(replacement: Callable[..., Any]) -> Iterator[None]:
    """Within the context, Keras's layers call a replacement for dropout.

    Args:
        replacement: a function (dropout, inputs, rate, noise_shape=None, seed=None), where
            ``dropout`` is Keras's own.
    """
    original = backend.random.dropout
    backend.random.dropout = functools.partial(replacement, original)
    try:
        yield
    finally:
        backend.random.dropout = original


@contextlib.contextmanager
def synchronized_normalization(model: keras.Model) -> Iterator[None]:
    """Within the context, batch normalization takes its statistics over all replicas.

    Keras has an argument for it, but a network that is trained on one device leaves it out.
    """
    layers = [
        layer
        for layer in flatten_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    former = [layer.synchronized for layer in layers]
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer, synchronized in zip(layers, former, strict=True):
            layer.synchronized = synchronized


@contextlib.contextmanager
def replaced_call(layer: keras.Layer, replacement: Callable[..., Any]) -> Iterator[None]:
    """Within the context, a layer calls a replacement for its ``call``.

    Args:
        layer: the layer.
        replacement: a function (call, *args, **kwargs), where ``call`` is the layer's own.
    """
    with _patched(layer, "call", functools.partial(replacement, layer.call)):
        yield


@contextlib.contextmanager
def replaced_update_state(
    metrics: Iterable[keras.metrics.Metric], replacement: Callable[..., Any]
) -> Iterator[None]:
    """Within the context, metrics call a replacement for their ``update_state``.

    Args:
        metrics: the metrics.
        replacement: a function (update_state, *args, **kwargs), where ``update_state`` is the
            metric's own.
    """
    with contextlib.ExitStack() as stack:
        for metric in metrics:
            update_state = functools.partial(replacement, metric.update_state)
            stack.enter_context(_patched(metric, "update_state", update_state))
        yield


@contextlib.contextmanager
def updates_without_strategy(
    optimizer: keras.optimizers.Optimizer, *, sum_gradients: Callable[[Any], Any]
) -> Iterator[None]:
    """Within the context, an optimizer updates one replica's weights, without its strategy.

    Keras sums the gradients in the last part of an update. Clipping, loss scaling and accumulation
    come before it and would see the gradients of one replica. It also merges the replicas inside
    conditions, which TensorFlow refuses.

    Args:
        optimizer: the optimizer; its ``inner_optimizer`` too, where it has one.
        sum_gradients: gets the gradients before anything else does, and gives those of the global
            batch.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)

    def apply(original, gradients, trainable_variables=None):
        return original(sum_gradients(gradients), trainable_variables)

    with contextlib.ExitStack() as stack:
        for name in _STRATEGY_AWARE:
            # A method of the optimizer's own class is left as it is.
            if getattr(type(inner), name) is getattr(keras.optimizers.Optimizer, name):
                method = types.MethodType(getattr(BaseOptimizer, name), inner)
                stack.enter_context(_patched(inner, name, method))
        own_apply = functools.partial(apply, optimizer.apply)
        stack.enter_context(_patched(optimizer, "apply", own_apply))
        yield


@contextlib.contextmanager
def _patched(owner, name, method):
    former = _set(owner, name, method)
    try:
        yield
    finally:
        _restore(owner, name, former)


def _set(owner, name, method):
    """Patch an object itself, not its class; returns what `_restore` needs."""
    former = vars(owner).get(name, _NOTHING)
    # Not setattr, by which Keras would track the function as a part of the layer.
    vars(owner)[name] = method
    return former


def _restore(owner, name, former):
    if former is _NOTHING:
        del vars(owner)[name]
    else:
        vars(owner)[name] = former


@contextlib.contextmanager
def hooked(owners: Iterable[Any], name: str, hook: Callable[..., Any]) -> Iterator[None]:
    """Within the context, objects call a hook for one of their methods.

    Several threads may enter it for the same objects, as replicas do; the hook is installed once.

    Args:
        owners: the objects.
        name: the method's name.
        hook: a function (owner, method, *args, **kwargs), where ``method`` is the owner's own; the
            same function in each thread.
    """
    owners = list(owners)
    with _HOOKS_LOCK:
        for owner in owners:
            entry = _HOOKS.setdefault((id(owner), name), [0, None])
            if not entry[0]:
                method = functools.partial(hook, owner, getattr(owner, name))
                entry[1] = _set(owner, name, method)
            entry[0] += 1
    try:
        yield
    finally:
        with _HOOKS_LOCK:
            for owner in owners:
                entry = _HOOKS[id(owner), name]
                entry[0] -= 1
                if not entry[0]:
                    _restore(owner, name, _HOOKS.pop((id(owner), name))[1])


def after(owner: Any, name: str, then: Callable[[], object]) -> None:
    """From now on, call a function after each call of an object's method."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def both(*args, **kwargs):
        result = method(*args, **kwargs)
        then()
        return result

    _set(owner, name, both)


def calling_list() -> keras.callbacks.CallbackList | None:
    """The list of callbacks by which the caller, a hook of a callback, is called; None without."""
    return _local_of_callers("self", keras.callbacks.CallbackList)


def running_epochs() -> "EpochIterator | None":
    """The iterator over the epochs of the ``fit`` that is running in this thread, or None."""
    found = _local_of_callers("epoch_iterator", epoch_iterator.EpochIterator)
    return None if found is None else EpochIterator(found)


def _local_of_callers(name, kind):
    """The innermost local variable of this name and type in the calls that are running, or None."""
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals.get(name)
        if isinstance(found, kind):
            return found
        frame = frame.f_back
    return None


def set_initial_epoch(model: keras.Model, epoch: int | None) -> None:
    """Let ``fit``, which has called the first hook, begin with another epoch; None: its argument.

    It stays for later fits unless it is set back.
    """
    model._initial_epoch = epoch


def drawn_at(bar: keras.utils.Progbar) -> float:
    """When Keras's progress bar was drawn last, in seconds since 1970; 0 before the first time."""
    return bar._last_update


def width_of_bar(bar: keras.utils.Progbar) -> int:
    """How many columns Keras's progress bar takes; 0 before it is drawn."""
    return bar._prev_total_width


def graph_of_call(operation: tf.Operation) -> Any:
    """The graph of the function that an operation calls; None if it is not such a call."""
    if operation.type not in ("PartitionedCall", "StatefulPartitionedCall"):
        return None
    function = operation.graph._get_function(operation.get_attr("f").name)
    return None if function is None else function.graph


def draws_in_graph(train_function: Any) -> bool:
    """Whether Keras's train function was traced with random operations that keep their own state.

    If it is traced again, they begin again; those of ``keras.random`` do not.
    """
    return any(
        "seed2" in node.attr
        for concrete in _traced_in(train_function)
        for nodes in _nodes(concrete.graph.as_graph_def())
        for node in nodes
    )


def traced_batches(train_function: Any) -> list[Any]:
    """The ``tf.TensorSpec`` of the batches for which Keras's train function was traced.

    A later fit on data of an earlier form is not traced again, so any of them may be the latest.
    """
    signatures = [concrete.structured_input_signature for concrete in _traced_in(train_function)]
    arguments = [argument for given, _ in signatures for argument in given]
    return [spec._element_spec for spec in arguments if hasattr(spec, "_element_spec")]


def _traced_in(train_function):
    """The concrete functions of Keras's train function."""
    parts = [cell.cell_contents for cell in getattr(train_function, "__closure__", None) or ()]
    return [concrete for part in parts for concrete in traced(part)]


def traced(function: Any) -> list[Any]:
    """The concrete functions for which a ``tf.function`` was traced; none of another function."""
    if not hasattr(function, "_list_all_concrete_functions"):
        return []
    return function._list_all_concrete_functions()


def _nodes(graph):
    yield graph.node
    for function in graph.library.function:
        yield function.node_def


def eager_random() -> Any:
    """What draws the seeds of eager operations, a ``random.Random``; None without a seed."""
    return getattr(context.context(), "_rng", None)


def global_seed() -> int | None:
    """The seed that ``tf.random.set_seed`` has set, or None."""
    return context.global_seed()


def global_generators() -> dict[str, Any]:
    """{name: generator} of the global generators that exist and keep their state in a variable.

    They are those of ``tf.random.get_global_generator()`` and of ``keras.random`` without a seed.
    """
    keras_generator = global_state.get_global_attribute(_KERAS_GENERATOR)
    found = {
        _OF_TENSORFLOW: stateful_random_ops.global_generator,
        _OF_KERAS: keras_generator,
    }
    return {name: generator for name, generator in found.items() if generator is not None}


def make_global_generators(names: Iterable[str]) -> None:
    """Make those of `global_generators` with these names that do not exist yet."""
    if _OF_KERAS in names:
        seed_generator.global_seed_generator()
    if _OF_TENSORFLOW in names:
        stateful_random_ops.get_global_generator()


def drop_global_generators(names: Iterable[str]) -> None:
    """Let those of `global_generators` with these names be made anew at their next draw."""
    if _OF_KERAS in names:
        global_state.set_global_attribute(_KERAS_GENERATOR, None)
    if _OF_TENSORFLOW in names:
        stateful_random_ops.global_generator = None


def restart_eager_operations() -> None:
    """Let eager random operations draw anew for the seeds that they get from `eager_random`."""
    context.context().clear_kernel_cache()


def learning_rate_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """What an optimizer has as its learning rate: a variable, a schedule or a function."""
    return optimizer._learning_rate


def graph_of(dataset: Any) -> tf.compat.v1.GraphDef:
    """The graph of a ``tf.data.Dataset``, with the functions of its maps and its constants."""
    serialized = dataset._as_serialized_graph(external_state_policy=ExternalStatePolicy.IGNORE)
    return GraphDef.FromString(serialized.numpy())


@dataclasses.dataclass(frozen=True)
class PipelinePart:
    """The last step of a tf.data pipeline, as its Python object describes it.

    Attributes:
        kind: the name of its class, such as "MapDataset".
        inputs: the data sets that it reads.
        functions: the graphs of its functions.
        seeds: the two seeds of a shuffle.
        deterministic: "default", "true" or "false", where it runs in parallel.
        num_bytes: the size of the tensors that it holds, as ``from_tensor_slices`` does.
    """

    kind: str
    inputs: list[tf.data.Dataset]
    functions: list[tf.Graph]
    seeds: list[int]
    deterministic: str
    num_bytes: int


def pipeline_part(dataset: tf.data.Dataset) -> PipelinePart:
    """The last step of a tf.data pipeline."""
    seeds = [getattr(dataset, name, None) for name in ("_seed", "_seed2")]
    tensors = [tensor for tensor in getattr(dataset, "_tensors", ()) if tensor.dtype.size]
    return PipelinePart(
        kind=type(dataset).__name__.lstrip("_"),
        inputs=list(dataset._inputs()),
        functions=[wrapper.function.graph for wrapper in dataset._functions()],
        seeds=[int(seed) for seed in seeds if seed is not None],
        deterministic=getattr(dataset, "_deterministic", "default"),
        num_bytes=sum(tensor.dtype.size * int(tf.size(tensor)) for tensor in tensors),
    )


def configure_coordination(
    *, job: str, task_count: int, register_timeout_s: int, heartbeat_timeout_s: int
) -> None:
    """Set how long a worker waits for the others; before the strategy is made.

    Args:
        job: the name of the workers' job in the cluster.
        task_count: how many workers it has.
        register_timeout_s: seconds that the first worker waits for all to come.
        heartbeat_timeout_s: seconds after which a silent worker counts as lost.
    """
    coordinated = CoordinatedJob(name=job, num_tasks=task_count)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{job}/replica:0/task:0",
        cluster_register_timeout_in_ms=register_timeout_s * 1000,
        heartbeat_timeout_in_ms=heartbeat_timeout_s * 1000,
        coordinated_jobs=[coordinated],
    )


def report_error_to_cluster(code: int, message: str) -> None:
    """Let every other worker's next collective operation fail with a message.

    Args:
        code: one of the codes of ``absl::Status``.
        message: the text.
    """
    context.context().report_error_to_cluster(code, message)


@contextlib.contextmanager
def replaced(owner: Any, name: str, substitute: Any) -> Iterator[None]:
    """Within the context, an attribute of a module or class is a substitute."""
    original = vars(owner)[name]
    setattr(owner, name, substitute)
    try:
        yield
    finally:
        setattr(owner, name, original)


class _Watched:
    """A data set that says which iterators are made of it."""

    def __init__(self, dataset, notice):
        self._dataset, self._notice = dataset, notice

    def __iter__(self):
        iterator = iter(self._dataset)
        self._notice(iterator)
        return iterator


class EpochIterator:
    """Keras's iterator over the epochs of a fit, with what a resumed training has to do with it.

    Keras makes an iterator over the data for each epoch, or one for all epochs of
    ``steps_per_epoch`` steps, and calls ``on_epoch_begin`` and ``on_epoch_end`` of the data.

    Args:
        epochs: what ``Model._maybe_symbolic_build`` gets as its ``iterator``.
    """

    def __init__(self, epochs: Any) -> None:
        self._epochs = epochs
        self.adapter = epochs.data_adapter

    @property
    def steps_per_epoch(self) -> int | None:
        """What the user gave, or None."""
        return self._epochs.steps_per_epoch

    @property
    def steps_per_execution(self) -> int:
        """How many steps Keras counts for one execution; to be set before an epoch begins."""
        return self._epochs.steps_per_execution

    @steps_per_execution.setter
    def steps_per_execution(self, steps: int) -> None:
        self._epochs.steps_per_execution = steps

    @property
    def num_batches(self) -> int | None:
        """Batches in an epoch; None where Keras has not seen the end of the data yet."""
        return self._epochs._num_batches

    @property
    def dataset(self) -> Any:
        """The ``tf.data.Dataset``, or a distributed one, of which iterators are made."""
        return self._epochs._distributed_dataset

    @dataset.setter
    def dataset(self, dataset: Any) -> None:
        self._epochs._distributed_dataset = dataset

    @property
    def pipeline(self) -> tf.data.Dataset | None:
        """The data set of a tf.data pipeline before it is distributed; None for other data."""
        if self.kind != "tf.data":
            return None
        dataset = self.adapter.get_tf_dataset()
        return getattr(dataset, "_original_dataset", dataset)

    @property
    def is_endless(self) -> bool:
        """Whether this is a tf.data pipeline that never ends."""
        pipeline = self.pipeline
        return pipeline is not None and int(pipeline.cardinality()) == tf.data.INFINITE_CARDINALITY

    @property
    def current(self) -> Any:
        """The iterator that Keras goes on with in the next epoch, or None."""
        return self._epochs._current_iterator

    def watch(self, *, on_iterator: Any, around_hook: Any) -> None:
        """Call ``on_iterator(iterator)`` for each new one, and the data's hooks by another way.

        Args:
            on_iterator: called before Keras draws from it.
            around_hook: called as ``around_hook(name, hook)`` instead of the data's
                ``on_epoch_begin`` and ``on_epoch_end``.
        """
        epochs, adapter = self._epochs, self.adapter
        epochs._get_iterator = lambda: _Watched(self.dataset, on_iterator)
        for name in ("on_epoch_begin", "on_epoch_end"):
            hook = getattr(adapter, name)
            setattr(adapter, name, functools.partial(around_hook, name, hook))

    def unwatch(self) -> None:
        """Undo what `watch` has done; the adapter may be the user's own."""
        vars(self._epochs).pop("_get_iterator", None)
        for name in ("on_epoch_begin", "on_epoch_end"):
            vars(self.adapter).pop(name, None)

    def rebuild(self, strategy: Any, *, from_generator: Any = None, shuffle: Any = None) -> None:
        """Make the data set anew, out of other building blocks.

        Args:
            strategy: that of the model.
            from_generator: stands in for ``tf.data.Dataset.from_generator``.
            shuffle: stands in for ``tf.random.shuffle``.
        """
        with contextlib.ExitStack() as stack:
            if from_generator is not None:
                substitute = staticmethod(from_generator)
                stack.enter_context(replaced(tf.data.Dataset, "from_generator", substitute))
            if shuffle is not None:
                stack.enter_context(replaced(tf.random, "shuffle", shuffle))
            dataset = self.adapter.get_tf_dataset()
        if not isinstance(dataset, tf.distribute.DistributedDataset):
            dataset = strategy.experimental_distribute_dataset(dataset)
        self.dataset = dataset

    def count_steps(self, steps: int) -> None:
        """Correct Keras's count: the last execution ran ``steps`` steps.

        Keras adds ``steps_per_execution`` for each execution. It would begin a new pass over the
        data too early if ``steps_per_epoch``, or the number of batches that it has found out, is
        not a multiple of that.
        """
        epochs = self._epochs
        is_found_out = epochs._num_batches and self.adapter.num_batches is None
        if epochs.steps_per_epoch or is_found_out:
            epochs._steps_seen += steps - epochs.steps_per_execution

    def end_data(self, *, begin: int) -> None:
        """Do what Keras does at the end of the data, if it is in the last execution of an epoch.

        Keras itself would notice it only in another execution. Call `count_steps` first.

        Args:
            begin: the first step of the execution, which ran fewer steps than it should.
        """
        epochs, wanted = self._epochs, self.steps_per_epoch
        if wanted and begin + self.steps_per_execution >= wanted:
            epochs._interrupted_warning()
            if self.adapter.num_batches is None:
                epochs._num_batches = epochs._num_batches or epochs._steps_seen + 1
                epochs._current_iterator = None

    def replay_epoch(self, num_batches: int | None) -> None:
        """Do what an epoch did to the iterators and the data, without drawing a batch.

        Args:
            num_batches: what `num_batches` was at its end.
        """
        epochs, adapter = self._epochs, self.adapter
        enqueuer = getattr(adapter, "enqueuer", None)
        if enqueuer is not None:
            adapter.enqueuer = None  # It would begin to draw in another thread.
        try:
            steps = epochs._enumerate_iterator()
            if epochs.steps_per_epoch or adapter.num_batches:
                for begin, end, _ in steps:
                    self.count_steps(min(end + 1, epochs.steps_per_epoch or end + 1) - begin)
            else:  # Keras finds the end of the data by running into it.
                next(steps)
                steps.close()
                epochs._num_batches, epochs._current_iterator = num_batches, None
                adapter.on_epoch_end()
        finally:
            if enqueuer is not None:
                adapter.enqueuer = enqueuer

    def replay_evaluation(self) -> None:
        """Do what an evaluation did to the iterators and the data, without drawing a batch."""
        self._epochs.reset()
        self.replay_epoch(None)

    @property
    def kind(self) -> str:
        """What the data are: "arrays", "tf.data", "PyDataset", "generator", "torch", "grain"."""
        for kind, adapter in _ADAPTERS.items():
            if isinstance(self.adapter, adapter):
                return kind
        return type(self.adapter).__name__

    @property
    def source(self) -> Any:
        """The user's own object that the batches come from, where it is one; else None."""
        name = _SOURCES.get(self.kind)
        return None if name is None else getattr(self.adapter, name)

    @property
    def shuffles_arrays(self) -> bool:
        """Whether these are arrays that Keras shuffles."""
        return self.kind == "arrays" and self.adapter._shuffle not in (False, "batch")

    @property
    def arrays(self) -> Any:
        """The arrays as tensors, structured as a batch; None where not all of them are dense."""
        if self.kind != "arrays" or self.adapter._shuffle not in (True, False):
            return None
        found = [self.dataset]
        while found:
            dataset = found.pop()
            tensors = getattr(dataset, "_tensors", None)
            if tensors is None:
                found.extend(dataset._inputs())
            elif _are_dense(dataset.element_spec):
                return tf.nest.pack_sequence_as(dataset.element_spec, tensors)
        return None

    def array_order(self) -> tf.Tensor:
        """The order in which Keras shuffles the arrays under the present seed, int64 (n,)."""
        adapter = copy.copy(self.adapter)
        count = adapter._num_samples
        adapter._inputs, adapter._batch_size = (np.arange(count),), count
        adapter._partial_batch_size = 0
        return next(iter(adapter.get_tf_dataset()))[0]

    @property
    def examples(self) -> int | None:
        """How many examples the arrays have, or None."""
        return self.adapter._num_samples if self.kind == "arrays" else None


def _are_dense(spec):
    return all(type(part) is tf.TensorSpec for part in tf.nest.flatten(spec))


_ADAPTERS = {
    "arrays": data_adapters.ArrayDataAdapter,
    "tf.data": data_adapters.TFDatasetAdapter,
    "PyDataset": data_adapters.PyDatasetAdapter,
    "generator": data_adapters.GeneratorDataAdapter,
    "torch": data_adapters.TorchDataLoaderAdapter,
    "grain": data_adapters.GrainDatasetAdapter,
}
_SOURCES = {"PyDataset": "py_dataset", "torch": "_dataloader", "grain": "_dataset"}
