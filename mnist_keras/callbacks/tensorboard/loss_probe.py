"""The losses of a single step of a plain keras.Model, whose logs are means over the epoch."""

import functools
from typing import Any

import keras
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras.callbacks.step_observer import EPOCH_MEAN, PartsFinder, StepObserver, is_loss, tags
from mnist_keras.callbacks.tensorboard import step_functions
from mnist_keras.callbacks.tensorboard.step_functions import JaxTrainFunction
from mnist_keras.checkpoint import backends
from mnist_keras.distributed import replicas

_RECORD = "record of the step"  # The logs that carry it out of the graph; nobody else sees it.
_EXAMPLES = "examples in the batch"
_MOST_UNCOUNTED = 1000  # A later fit may run without a callback that reads them.


class ObservedTrainFunction:
    """The train function of a ``keras.Model`` whose steps are observed.

    The step's record leaves the graph among the logs and is removed from them here. So neither the
    metrics nor the logs that callbacks see are changed. It stays the model's train function after
    the fit: another one would be traced again, and ``tf.random`` would begin again.

    Attributes:
        made: the function that Keras made of the observed step.
        is_due: whether the next step's values are needed; it is found for each step anyway.
    """

    def __init__(self, model):
        self.is_due = False
        self._record = {}
        self._examples = 0
        self._uncounted = []
        step = functools.partial(_observed_step, PartsFinder(model))
        with _keras.hooked([model], "train_step", step):
            model.make_train_function(force=True)
        self.made = model.train_function

    def __call__(self, iterator):
        """Run one step; return its logs."""
        logs = self.made(iterator)
        self._record = logs.pop(_RECORD, {}) if isinstance(logs, dict) else {}
        self._uncounted.append(self._record.pop(_EXAMPLES, 0))
        if len(self._uncounted) == _MOST_UNCOUNTED:
            self._count()
        return logs

    def values(self):
        """{tag: number} of the last step: its losses and learning rates."""
        return {tag: value.numpy() for tag, value in self._record.items()}

    @property
    def examples(self):
        """How many examples were trained on, an integer; it is read from the device."""
        self._count()
        return self._examples

    def _count(self):
        self._examples += sum(int(examples) for examples in self._uncounted)
        self._uncounted = []


class LossProbe:
    """Finds the losses and the learning rates of single steps of a plain ``keras.Model``.

    Training, metrics and logs do not change by a bit. The model is traced again if an earlier fit
    has traced it, unless that would change the numbers that ``tf.random`` draws. If a step cannot
    be observed, each loss is the mean over the epoch so far, and its name says so.
    """

    def __init__(self):
        self._was_traced = False
        self._function: Any = None
        self._learning_rate: float | None = None

    def __getstate__(self):
        """The state to pickle, without the function of the last fit."""
        return {**vars(self), "_function": None}

    def set_model(self, model):
        """Call before ``fit`` makes the model's train function."""
        self._was_traced = getattr(model, "train_function", None) is not None

    def begin_fit(self, model):
        """Call after ``fit`` has made the model's train function, before the first batch."""
        made = model.train_function
        if isinstance(made, ObservedTrainFunction):
            self._function = made
        elif not backends.is_tensorflow():
            self._function = step_functions.train_function(model)
            model.train_function = self._function or made
        elif _can_be_observed(model) and not (self._was_traced and _keras.draws_in_graph(made)):
            self._function = model.train_function = ObservedTrainFunction(model)
        else:
            self._function = None

    def end_fit(self):
        """Call after the fit; a pickle cannot hold a train function."""
        self._function = None

    def begin_step(self, model):
        """Call before a batch whose values are needed."""
        optimizer = getattr(model, "optimizer", None)
        if self._function is not None:
            self._function.is_due = True
        if optimizer is not None and self._asks_optimizer:
            backends.synchronize(model)
            # After the batch a schedule returns the next step's rate.
            rate = keras.ops.convert_to_numpy(optimizer.learning_rate)
            self._learning_rate = float(rate)

    @property
    def examples(self):
        """How many examples the model was trained on, an integer; None if that is not counted."""
        return None if self._function is None else self._function.examples

    def values(self, logs):
        """{tag: number} of the step that just ran.

        Args:
            logs: those of the step, {name: number}.
        """
        if self._function is None:
            losses = {n + EPOCH_MEAN: value for n, value in (logs or {}).items() if is_loss(n)}
        else:
            losses = self._function.values()
        if not self._asks_optimizer or self._learning_rate is None:
            return losses
        return {**losses, "learning_rate": self._learning_rate}

    @property
    def _asks_optimizer(self):
        """Whether the train function does not give the learning rate."""
        return self._function is None or isinstance(self._function, JaxTrainFunction)


def _can_be_observed(model):
    """Whether the step of a model can be observed without a risk for what it computes."""
    # The workers of a cluster would have to reduce the record.
    strategy = getattr(model, "distribute_strategy", None)
    return type(model).make_train_function is keras.Model.make_train_function and not isinstance(
        strategy, tf.distribute.MultiWorkerMirroredStrategy
    )


def _observed_step(parts, _, train_step, data):
    observer = StepObserver(parts.find())
    with observer.observing():
        logs = train_step(data)
    if not isinstance(logs, dict):
        return logs
    values = {**observer.losses(logs), **tags("learning_rate", observer.learning_rates)}
    record = {tag: tf.reshape(tf.cast(v, tf.float32), ()) for tag, v in values.items()}
    # Keras takes the mean over replicas.
    count = tf.distribute.get_strategy().num_replicas_in_sync
    record[_EXAMPLES] = count * replicas.examples_if_known(data)
    return {**logs, _RECORD: record}
