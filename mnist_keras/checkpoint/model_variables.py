"""Finds every variable that a model can reach, for a complete checkpoint.

Keras lists the variables of the layers, of the compiled optimizer and of the metrics. A model may
hold more: several optimizers, a ``tf.Variable`` as a queue or a counter, a ``tf.random.Generator``,
or a metric that Keras does not know. These are found through the model's attributes.
"""

import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from mnist_keras._keras import global_generators
from mnist_keras.checkpoint import backends, closures
from mnist_keras.checkpoint.step_graph import StepGraph

_CONTAINERS = (list, tuple, dict)
_OWNERS = (
    keras.layers.Layer,
    keras.metrics.Metric,
    keras.losses.Loss,
    keras.optimizers.Optimizer,
    keras.random.SeedGenerator,
    tf.Module,
    tf.random.Generator,
)
# Objects of these packages are searched only if they have one of the types above.
_LIBRARIES = ("tensorflow", "keras", "numpy", "torch", "builtins", "mnist_keras")
_MOST_PARTS = 10_000  # of a list; longer lists hold data, not variables


def groups(model: Any, step: StepGraph | None = None) -> dict[str, list[tuple[str, Any]]]:
    """{group: [(path, variable), ...]} of a built model.

    Args:
        model: a keras.Model.
        step: the graph of its training step, or None.

    Returns:
        "model": ``model.variables``; "optimizer": the compiled optimizer's variables; "metrics":
        the metrics' variables, which ``fit`` resets at each epoch; "others": all other variables
        that the model's attributes reach, with the attribute's name as the path; "captured":
        those that only the training step reaches, through a closure or a global name; "global":
        the states of the global generators of Keras and TensorFlow.

    Example:

    >>> class Counting(keras.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.seen = tf.Variable(0)
    >>> [path for path, variable in groups(Counting())["others"]]
    ['seen']
    """
    known = {
        "model": [(variable.path, variable) for variable in model.variables],
        "optimizer": [(variable.path, variable) for variable in _of_optimizer(model)],
        "metrics": [(variable.path, variable) for variable in model.metrics_variables],
    }
    seen = {id(holder_of(variable)) for members in known.values() for _, variable in members}
    others = []
    for path, variable in _reached(model):
        if id(holder_of(variable)) not in seen:
            seen.add(id(holder_of(variable)))
            others.append((path, variable))
    of_generators = [(name, it.state) for name, it in global_generators().items()]
    of_generators = [(name, v) for name, v in of_generators if id(holder_of(v)) not in seen]
    found = {**known, "others": others, "captured": [], "global": of_generators}
    if step is not None and model.distribute_strategy.num_replicas_in_sync == 1:
        found["captured"] = _captured(model, step, found)
    if closures.runs_python(model):
        found["captured"] += _referenced(model, found)
    return found


def unsaved(model: Any, step: StepGraph) -> list[str]:
    """The paths of the variables that a step uses and no checkpoint holds.

    On several replicas, a variable that only a closure or a global name holds is not saved.
    """
    paths = [path for path, _ in _captured(model, step, groups(model, step))]
    return list(dict.fromkeys(re.sub(r"/replica_\d+$", "", path) for path in paths))


def of_torch_modules(model: Any) -> list[str]:
    """The names of the PyTorch tensors in a model that no checkpoint holds: no Keras variables."""
    if backends.name() != "torch":
        return []
    known = {id(variable.value) for variable in model.variables}
    tensors = [*model.named_buffers(), *model.named_parameters()]
    return [name for name, tensor in tensors if id(tensor) not in known]


def optimizers(model: Any) -> dict[str, Any]:
    """{attribute: optimizer} of all optimizers in a model; the compiled one is "optimizer".

    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer="sgd")
    >>> list(optimizers(model))
    ['optimizer']
    """
    found: dict[int, tuple[str, Any]] = {}
    for path, value in _objects(model):
        if isinstance(value, keras.optimizers.Optimizer) and id(value) not in found:
            found[id(value)] = path, value
            inner = getattr(value, "inner_optimizer", None)
            if inner is not None:
                found[id(inner)] = "", inner
    return {path: optimizer for path, optimizer in found.values() if path}


def _captured(model, step, found):
    """[(path, variable), ...] of the step's variables that are in no group of ``found``."""
    replicas = model.distribute_strategy.experimental_local_results
    known = {id(replica) for v in _all(found) for replica in replicas(holder_of(v))}
    return [(v.name.partition(":")[0], v) for v in step.variables if id(v) not in known]


def _referenced(model, found):
    """[(path, variable), ...] of closures of Python code in the steps, in no group of ``found``."""
    known = {id(holder_of(variable)) for variable in _all(found)}
    more = []
    for name, value in closures.referenced(model):
        for path, variable in _reached(value) if _Followed()(value) else ():
            if id(holder_of(variable)) not in known:
                known.add(id(holder_of(variable)))
                more.append((f"{name}/{path}".rstrip("/"), variable))
    return more


def _all(found):
    return [variable for members in found.values() for _, variable in members]


def not_finite(model: Any) -> str | None:
    """The path of a weight or optimizer variable that is not finite, or None.

    >>> layer = keras.layers.Dense(1, name="last")
    >>> model = keras.Sequential([keras.Input((1,)), layer], name="net")
    >>> not_finite(model)
    >>> _ = layer.bias.assign([float("nan")])
    >>> not_finite(model)
    'net/last/bias'
    """
    backends.synchronize(model)
    for variable in (*model.variables, *_of_optimizer(model)):
        if not bool(keras.ops.all(keras.ops.isfinite(holder_of(variable)))):
            return variable.path
    return None


def _of_optimizer(model):
    optimizer = getattr(model, "optimizer", None)
    return [] if optimizer is None else optimizer.variables


def holder_of(variable: Any) -> Any:
    """The object that holds the numbers: a Keras variable and its ``tf.Variable`` count as one.

    >>> variable = keras.Variable(1.0)
    >>> holder_of(variable) is holder_of(variable.value)
    True
    """
    is_wrapper = isinstance(variable, keras.Variable) and backends.is_tensorflow()
    return variable.value if is_wrapper else variable


def metrics(model: Any) -> list[keras.metrics.Metric]:
    """All metrics of a model, also those that only its attributes reach or that other ones hold.

    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.seen = {"mean": keras.metrics.Mean(name="d_loss")}
    >>> [metric.name for metric in metrics(model)]
    ['d_loss']
    """
    found = {id(metric): metric for metric in model.metrics}
    for _, value in _objects(model):
        if isinstance(value, keras.metrics.Metric):
            found.setdefault(id(value), value)
    return list(found.values())


def has_own_variables(metric: keras.metrics.Metric) -> bool:
    """Whether a metric has a ``tf.Variable`` that Keras does not know as a part of its state."""
    return any(isinstance(variable, tf.Variable) for _, variable in _reached(metric))


def _reached(model: Any) -> Iterator[tuple[str, Any]]:
    for path, value in _objects(model):
        if isinstance(value, (keras.Variable, tf.Variable)):
            yield path, value
        elif isinstance(value, keras.optimizers.Optimizer):
            for variable in value.variables:
                yield f"{path}/{variable.path}", variable


def _objects(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, object) for each reachable object once, parents first."""
    is_followed = _Followed()
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield path, value
        prefix = f"{path}/" if path else ""
        waiting.extend(
            (f"{prefix}{name}", part)
            for name, part in reversed(list(_parts(value)))
            if is_followed(part) and id(part) not in seen
        )


def _parts(value):
    """(name, object) for each part of an object."""
    if isinstance(value, (keras.Variable, tf.Variable, keras.optimizers.Optimizer)):
        return ()
    if isinstance(value, dict):
        return value.items() if len(value) else ()
    if isinstance(value, (list, tuple)):
        return enumerate(value[:_MOST_PARTS]) if len(value) else ()
    # Keras's private attributes come last, so that paths use the names in the user's program.
    return sorted(_attributes(value), key=lambda part: part[0].startswith("_"))


def _attributes(value):
    try:
        return list(vars(value).items())
    except TypeError:
        return []


class _Followed:
    """Whether an object may hold variables, which its class decides; a model has few classes."""

    def __init__(self):
        self._by_class = {}

    def __call__(self, value):
        # Keras's wrappers of lists and dicts have the class of what they wrap, and a type.
        classes = type(value), value.__class__
        if classes not in self._by_class:
            self._by_class[classes] = _is_followed(value)
        return self._by_class[classes]


def _is_followed(value):
    if isinstance(value, (keras.Variable, tf.Variable, *_CONTAINERS, *_OWNERS)):
        return True
    if isinstance(value, type) or callable(value) or not hasattr(value, "__dict__"):
        return False
    return not type(value).__module__.startswith(_LIBRARIES)
