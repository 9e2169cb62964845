"""The train functions of Keras's other backends, of which a due step's losses are found."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from mnist_keras.callbacks.step_observer import PartsFinder, StepObserver, flat, is_loss, tags
from mnist_keras.checkpoint import backends


class JaxTrainFunction:
    """The train function of a ``keras.Model`` on JAX.

    Keras's function is pure: it gets the state and returns the new one. Before a due step it is
    called once more, with a copy of the state in which the metrics are reset. The logs are those of
    the step alone then, as its metrics give them. The training itself is the same call as ever.

    Attributes:
        examples: how many examples were trained on.
        is_due: whether the next step's losses are needed.
    """

    def __init__(self, model: Any) -> None:
        self.examples = 0
        self.is_due = False
        self._model, self._function = model, model.train_function
        self._losses: dict[str, np.float32] = {}

    def __call__(self, state: Any, iterator: Iterator[Any]) -> Any:
        """Run one step; return its logs and the new state."""
        batch = next(iterator)
        if self.is_due:
            self.is_due = False
            logs, _ = self._function(self._with_reset_metrics(state), iter([batch]))
            self._losses = _losses(logs)
        self.examples += _count(batch)
        return self._function(state, iter([batch]))

    def values(self) -> dict[str, np.float32]:
        """{name: loss} of the last due step."""
        return self._losses

    def _with_reset_metrics(self, state):
        *others, metrics = keras.tree.map_structure(lambda array: array.copy(), state)
        reset = [it for metric in self._model.metrics for it in metric.stateless_reset_state()]
        # A variable that the metric does not reset comes back itself.
        kept = [
            old if isinstance(new, keras.Variable) else new
            for old, new in zip(metrics, reset, strict=True)
        ]
        return (*others, kept)


class TorchTrainFunction:
    """The train function of a ``keras.Model`` on PyTorch, whose steps run eagerly.

    A due step is observed while it runs; the observation computes, but changes nothing.

    Attributes:
        examples, is_due: as of `JaxTrainFunction`.
    """

    def __init__(self, model: Any) -> None:
        self.examples = 0
        self.is_due = False
        self._function = model.train_function
        self._parts = PartsFinder(model)
        self._values: dict[str, np.float32] = {}

    def __call__(self, data: Any) -> Any:
        """Run one step; return its logs."""
        self.examples += _count(data[0])
        if not self.is_due:
            return self._function(data)
        self.is_due = False
        observer = StepObserver(self._parts.find())
        rates = {name: _number(rate) for name, rate in observer.known_rates.items()}
        with observer.observing():
            logs = self._function(data)
        losses = {name: _number(loss) for name, loss in observer.losses(logs).items()}
        applied = {name: rates[name] for name in observer.applied if name in rates}
        self._values = {**losses, **tags("learning_rate", applied)}
        return logs

    def values(self) -> dict[str, np.float32]:
        """{tag: number} of the last due step: its losses and learning rates."""
        return self._values


def train_function(model: Any) -> JaxTrainFunction | TorchTrainFunction | None:
    """A train function for a model of another backend than TensorFlow; None if it cannot be."""
    made = model.train_function
    if isinstance(made, (JaxTrainFunction, TorchTrainFunction)):
        return made
    if type(model).make_train_function is not keras.Model.make_train_function:
        return None
    is_compiled = model.jit_compile and not model.run_eagerly
    if backends.name() == "jax" and is_compiled:  # An eager step may not be pure.
        return JaxTrainFunction(model)
    if backends.name() == "torch" and not is_compiled:
        return TorchTrainFunction(model)
    return None


def _losses(logs):
    found = flat(logs).items()
    return {name: _number(loss) for name, loss in found if is_loss(name)}


def _number(value):
    """A number, or the mean of several."""
    return np.float32(np.mean(backends.host_array(value)))


def _count(batch):
    """How many examples a batch has."""
    parts = [part for part in keras.tree.flatten(batch) if getattr(part, "shape", ())]
    return int(parts[0].shape[0]) if parts else 0
