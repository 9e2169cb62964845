"""What one training step gives to its metrics and its optimizers, noted while it is traced.

A ``train_step`` mostly returns the results of metrics, which are means over the epoch so far. The
value of a metric for one step is found without a difference of sums, which would lose digits: it is
what the metric makes of this step's updates alone.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.callbacks.data_flow import is_computed_in_step
from mnist_keras.checkpoint import model_variables
from mnist_keras.distributed import replicas

EPOCH_MEAN = " (epoch mean)"

# Each replica's step is traced in a separate thread, and so in a separate context.
_OBSERVER: contextvars.ContextVar["StepObserver | None"] = contextvars.ContextVar(
    "observer", default=None
)


def is_loss(name: str) -> bool:
    """Whether a log of this name is a loss.

    >>> [is_loss(name) for name in ("loss", "d_loss", "FinalLoss", "accuracy")]
    [True, True, True, False]
    """
    return name.lower().endswith("loss")


def tags(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """{tag: value} of the values of several optimizers.

    The tag of a single value, or of one for "", is the name.

    >>> tags("learning_rate", {"optimizer": 0.1})
    {'learning_rate': 0.1}
    >>> tags("learning_rate", {"d_optimizer": 0.1, "g_optimizer": 0.2})
    {'learning_rate/d_optimizer': 0.1, 'learning_rate/g_optimizer': 0.2}
    """
    if len(values) == 1:
        return dict.fromkeys([name], *values.values())
    return {f"{name}/{one}" if one else name: value for one, value in values.items()}


def flat(logs: Any) -> dict[str, Any]:
    """The logs with those of nested dictionaries, as Keras flattens them; {} for other values.

    >>> flat({"loss": 1.0, "of": {"a": 2.0, "b": 3.0}})
    {'loss': 1.0, 'a': 2.0, 'b': 3.0}
    """
    found: dict[str, Any] = {}
    for name, value in logs.items() if isinstance(logs, dict) else ():
        found.update(flat(value) if isinstance(value, dict) else {name: value})
    return found


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a `StepObserver` observes of a model.

    Attributes:
        model: the model.
        metrics: all of its metrics.
        optimizers: {attribute: optimizer}, all of its optimizers.
    """

    model: keras.Model
    metrics: list[keras.metrics.Metric]
    optimizers: dict[str, keras.optimizers.Optimizer]

    @classmethod
    def of(cls, model: keras.Model) -> "Parts":
        """The parts that the model has now."""
        return cls(model, model_variables.metrics(model), model_variables.optimizers(model))

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Within the context, a `StepObserver` can observe them."""
        with (
            _keras.hooked(self.metrics, "update_state", _on_update),
            _keras.hooked(self.metrics, "result", _on_result),
            _keras.hooked(self.optimizers.values(), "apply", _on_apply),
        ):
            yield


class PartsFinder:
    """Finds the `Parts` of a model for each trace; of eager steps only for the first ones.

    They may be made as late as in the first step.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._found: Parts | None = None
        self._eager_searches = 2

    def find(self) -> Parts:
        """The parts of the model."""
        if not tf.executing_eagerly():
            return Parts.of(self._model)
        if self._eager_searches or self._found is None:
            self._eager_searches -= 1
            self._found = Parts.of(self._model)
        return self._found


class StepObserver:
    """Notes the updates of metrics and optimizers in one step of a model.

    Create it where the step begins, in the same graph, or eagerly for an eager step.

    Args:
        parts: the `Parts` of the model.

    Attributes:
        applied: {name: (gradients, loss scale)} of the optimizers that the step applied, in this
            order. The name is the attribute that holds the optimizer. The gradients are those of
            the last call; None if they are inside a condition or a loop.
    """

    def __init__(self, parts: Parts) -> None:
        self.applied: dict[str, tuple[list[Any] | None, Any]] = {}
        self._parts, self._model = parts, parts.model
        self._graph = _current_graph()
        self._names = {id(optimizer): name for name, optimizer in parts.optimizers.items()}
        # Before the step: afterwards a schedule returns the next step's rate.
        self._rates = {name: _learning_rate(one) for name, one in parts.optimizers.items()}
        # Arguments of each update, by the id of the metric; None for one that is not known.
        self._updates: dict[int, list[tuple[Any, Any] | None]] = {}
        self._results: dict[int, tuple[Any, Any, str | None]] = {}

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Observe the step, which runs in this context."""
        token = _OBSERVER.set(self)
        try:
            with self._parts.hooked():
                yield
        finally:
            _OBSERVER.reset(token)

    @property
    def known_rates(self) -> dict[str, Any]:
        """{name: learning rate} of all optimizers, before the step."""
        return self._rates

    @property
    def learning_rates(self) -> dict[str, Any]:
        """{name: learning rate} of the optimizers that the step applied, before the step."""
        return {name: self._rates[name] for name in self.applied if name in self._rates}

    def losses(self, logs: Any, *, without: Any = ()) -> dict[str, Any]:
        """The losses in the logs of the step, {name: scalar tensor}, over all replicas.

        Each is the value of this step. If that cannot be found, it is the value in the logs, and
        `EPOCH_MEAN` is appended to its name. Of several numbers, such as one for each example, it
        is the mean.

        Args:
            logs: what ``train_step`` returned.
            without: names of losses that are known already.
        """
        found: dict[str, Any] = {}
        computed = []
        for name, value in flat(logs).items():
            if not is_loss(name) or name in without or not (_is_scalar(value) or _is_array(value)):
                continue
            _, metric, key = self._results.get(id(value), (None, None, None))
            if metric is None and self._is_computed_in_step(value):
                found[name] = _mean(value)
                computed.append(name)
                continue
            own = None if metric is None else self._of_metric(metric, key)
            found[name + EPOCH_MEAN if own is None else name] = _mean(value if own is None else own)
        return self._over_replicas(found, computed=computed)

    def note_update(self, metric: Any, args: Any, kwargs: Any) -> None:
        is_known = self._is_here((args, kwargs))
        self._updates.setdefault(id(metric), []).append((args, kwargs) if is_known else None)

    def note_result(self, metric: Any, result: Any) -> None:
        parts = result.items() if isinstance(result, dict) else [(None, result)]
        for key, part in parts:
            self._results[id(part)] = part, metric, key  # Kept alive, so that its id stays its own.

    def note_apply(self, optimizer: Any, gradients: Any) -> None:
        if id(optimizer) not in self._names:
            return
        name = self._names[id(optimizer)]
        if gradients is None or not self._is_here(gradients):
            self.applied[name] = None, None
        else:
            # Before the update: it may change the scale.
            scale = optimizer.scale_loss(keras.ops.ones((), "float32"))
            self.applied[name] = list(gradients), scale

    def _is_computed_in_step(self, value):
        """Whether a log that no metric gave is a value of this step, not read from the state."""
        if isinstance(value, (keras.Variable, tf.Variable)):
            return False
        if self._graph is None or not hasattr(value, "op"):
            return True
        trained = [
            variable.value if isinstance(variable, keras.Variable) else variable
            for variable in self._model.trainable_variables
        ]
        return is_computed_in_step(value, trained=trained)

    def _of_metric(self, metric, key):
        """The value of a metric for the updates of this step alone; None if it is not known."""
        noted = self._updates.get(id(metric), [])
        updates = [update for update in noted if update is not None]
        if not updates or len(updates) < len(noted):
            return None
        if _is_plain_mean(metric) and len(updates) == 1:
            values = _values(*updates[0][0], **updates[0][1])
            if _is_scalar(values) and not getattr(values, "shape", ()):
                return keras.ops.convert_to_tensor(values)
        if model_variables.has_own_variables(metric):
            return None  # An update would change them.
        with contextlib.suppress(Exception):  # A metric may do more than Keras expects of it.
            state = metric.stateless_reset_state()
            for args, kwargs in updates:
                state = metric.stateless_update_state(state, *args, **kwargs)
            replica = replicas.current()
            is_summed = replica is not None and isinstance(metric, keras.metrics.Mean)
            if is_summed:
                state = replica.all_reduce_sum(state)
            result = metric.stateless_result(state)
            result = result if key is None else result[key]
            if is_summed:
                replica.add_sum(result)
            return result
        return None

    def _over_replicas(self, values, *, computed):
        replica = replicas.current()
        if replica is None or not values:
            return values
        # What the step computed itself comes from `compute_loss`, so the parts add up, unless it
        # has the name of a metric.
        for name in {*computed} - self._model.get_metrics_result().keys():
            replica.add_contribution(values[name])
        return dict(zip(values, replica.all_reduce(list(values.values())), strict=True))

    def _is_here(self, structure):
        """Whether this call and its tensors are of the step, not of a condition or a loop in it."""
        return _current_graph() is self._graph and all(
            part.graph is self._graph
            for part in tf.nest.flatten(structure)
            if hasattr(part, "op") and hasattr(part, "graph")
        )


def _on_update(metric, update_state, *args, **kwargs):
    observer = _OBSERVER.get()
    if observer is not None:
        observer.note_update(metric, args, kwargs)
    return update_state(*args, **kwargs)


def _on_result(metric, result, *args, **kwargs):
    value, observer = result(*args, **kwargs), _OBSERVER.get()
    if observer is not None:
        observer.note_result(metric, value)
    return value


def _on_apply(optimizer, apply, *args, **kwargs):
    observer = _OBSERVER.get()
    if observer is not None:
        observer.note_apply(optimizer, args[0] if args else kwargs.get("grads"))
    return apply(*args, **kwargs)


def _current_graph():
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _is_scalar(value):
    if isinstance(value, (int, float)):
        return True
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None or tf.TensorShape(shape).num_elements() != 1:
        return False
    return keras.backend.is_float_dtype(dtype) or keras.backend.is_int_dtype(dtype)


def _is_plain_mean(metric):
    kind, mean = type(metric), keras.metrics.Mean
    return issubclass(kind, mean) and (
        kind.update_state is mean.update_state and kind.result is mean.result
    )


def _values(values, sample_weight=None):
    """The values that an update of a mean is called with."""
    return values


def _learning_rate(optimizer):
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return keras.ops.convert_to_tensor(inner.learning_rate)


def _is_array(value):
    """Whether it has several numbers whose mean is their mean over all replicas."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or replicas.current() is not None:
        return False
    return keras.backend.is_float_dtype(dtype)


def _mean(value):
    tensor = keras.ops.convert_to_tensor(value)
    return tensor if _is_scalar(tensor) else keras.ops.mean(tensor)
