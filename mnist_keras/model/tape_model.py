"""TapeModel: a Keras model whose training step is a ``tf.GradientTape`` in the open."""

import contextlib
import contextvars
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from mnist_keras import _keras
from mnist_keras._keras import Functional
from mnist_keras.data.stream import BatchStream
from mnist_keras.distributed import replicas

# Registers the loss and the optimizer too: a saved model may have been compiled with them.
from mnist_keras.model import batch_split, losses, optimizers  # noqa: F401
from mnist_keras.model.callback_list import FitCallbacks
from mnist_keras.model.functional_twin import are_functional, functional_twin
from mnist_keras.model.multi_step import MultiStepFunction, StepRecord, StepRecords, is_wholly_built
from mnist_keras.model.replicated_steps import ReplicatedStepFunction, ReplicatedTestFunction

AUTO_STEPS_PER_EXECUTION = 100

Gradients = list[tf.Tensor | None]  # None: the loss does not depend on the weight

# Each replica's step is traced in a thread, and so in a context, of its own.
_RECORD: contextvars.ContextVar[StepRecord | None] = contextvars.ContextVar("record", default=None)

_FIT = inspect.signature(keras.Model.fit)


@keras.saving.register_keras_serializable(package="mnist_keras")
class TapeModel(keras.Model):
    """A ``keras.Model`` with a readable train_step and a train function of many true steps.

    Three ways to make one:

    - ``TapeModel(network)`` wraps any layer or model;
    - ``TapeModel(inputs=..., outputs=...)`` is a functional model;
    - a subclass gives its own ``call``, or its own ``train_step``.

    ``compile``, ``fit``, ``evaluate`` and ``predict`` take what Keras's own take. Beyond that,
    ``compile(steps_per_execution=N)`` runs N steps in one call of the device without any number
    depending on N, ``"auto"`` chooses N, and ``fit`` goes on from the newest checkpoint of a
    `mnist_keras.callbacks.Checkpoint` among its callbacks, in mid-epoch too.

    Args:
        network: what is wrapped.
        batch_parts: into how many parts each batch is cut for the wrapped network. The parts are
            computed side by side, one on each thread of TensorFlow's inter-op pool, which on few
            cores is faster than all cores on one product: on 2 cores
            ``tf.config.threading.set_inter_op_parallelism_threads(2)`` and
            ``set_intra_op_parallelism_threads(1)`` belong to 2 parts. Sums over the batch are taken
            in another order, so losses agree with those of 1 part to about 1e-6.

    Raises:
        UsageError: ``batch_parts`` is no whole number of at least 1; or above 1 without a wrapped
            network, or with one that normalizes over the batch.

    Attributes:
        steps_trained: updates done since the first fit, also before an interruption.
        step_records: the `mnist_keras.model.multi_step.StepRecords` of the last execution; None
            before the first one.
        examples_in_epoch: where several workers train it, how many examples of the present epoch
            were trained on when the last execution ended.
        fit_callbacks: the ``mnist_keras.model.callback_list.FitCallbacks`` of the running fit, or
            None.

    Example:

    >>> import keras, numpy as np
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse", steps_per_execution=4)
    >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=2, verbose=0)
    >>> sorted(history.history)
    ['loss']
    """

    train_function: Any
    test_function: Any
    _steps_per_execution: Any

    def __init__(self, *args: Any, batch_parts: int = 1, **kwargs: Any) -> None:
        network: Any = None
        if are_functional(args, kwargs):
            # keras.Model.__init__ would put Functional among the bases of TapeModel for good.
            if not isinstance(self, _keras.Functional):
                twin = functional_twin(type(self))  # type: ignore[arg-type]  # It can be hashed.
                self.__class__ = twin
            super(keras.Model, self).__init__()
            Functional.__init__(self, *args, **kwargs)
        else:
            network, *others = args or (kwargs.pop("network", None),)
            super().__init__(*others, **kwargs)
        # A subclass may have a `network` of its own, which is not wrapped.
        self._wraps_network = network is not None
        self.network = network
        if hasattr(network, "output_names"):
            # Losses and metrics are told by them.
            self.output_names = network.output_names
        if getattr(network, "built", False) and type(self).build is keras.Model.build:
            self.built = True  # So that weights can be loaded before the first call.
        self.batch_parts = batch_parts
        batch_split.require(batch_parts, network)
        self.steps_trained = 0
        self.step_records: StepRecords | None = None
        self.examples_in_epoch: int | None = None
        self.fit_callbacks: FitCallbacks | None = None

    @property
    def wrapped_network(self) -> Any:
        """The network that the model wraps, or None."""
        return self.network if self._wraps_network else None

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The wrapped network's output, or the functional model's own."""
        if not self._wraps_network:
            return super().call(inputs, training=training, mask=mask)
        # Only in a graph are the parts computed side by side.
        if self.batch_parts == 1 or tf.executing_eagerly():
            return self.network(inputs)
        parts = [self.network(part) for part in batch_split.split(inputs, self.batch_parts)]
        return tf.nest.map_structure(batch_split.joined, *parts)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the tutorial: forward, loss, gradient, update.

        Args:
            data: (x, y) or (x, y, sample_weight), one batch; y and sample_weight may be None.

        Returns:
            The metrics so far in this epoch, {name: scalar}.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        with tf.GradientTape() as tape:
            y_pred = self(x, training=True) if _keras.takes_training_argument(self) else self(x)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)

        variables = self.trainable_weights
        gradients = tape.gradient(scaled_loss, variables)
        loss, gradients = self.sum_over_replicas(loss, gradients)
        self.record_step(loss=loss, gradients=gradients)
        if variables:
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        else:
            warnings.warn("a step changes nothing: all weights are frozen.", stacklevel=2)

        # While the last and largest products run, not in the way of the others.
        with tf.control_dependencies(_early(gradients)):
            _keras.loss_tracker(self).update_state(loss, sample_weight=replicas.example_count(x))
            return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """As ``keras.Model.compute_loss``; of several replicas each one's part of the batch's loss.

        In a training step, the sum of the parts is the loss of the whole batch, of whatever sizes
        the replicas' parts of the batch are.
        """
        loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        return replicas.loss_contribution(loss, y_pred) if training else loss

    def sum_over_replicas(
        self, loss: tf.Tensor, gradients: Gradients
    ) -> tuple[tf.Tensor, Gradients]:
        """The whole batch's loss and gradients, of what each replica has; one alone has them.

        A ``train_step`` of your own calls it before it looks at its gradients, as to clip them;
        otherwise they are summed when they are applied.

        Args:
            loss: what `compute_loss` gave, a scalar.
            gradients: a list, None where there is none.
        """
        replica = replicas.current()
        if replica is None:
            return loss, gradients
        replica.add_contribution(loss)
        loss, *gradients = replica.all_reduce_sum([loss, *gradients])
        return loss, gradients

    def record_step(self, *, loss: tf.Tensor, gradients: Gradients | None = None) -> None:
        """Keep this step's own loss, and its gradient norm where somebody asks for it.

        That is a callback, or anybody after a loss that is not finite.

        A ``train_step`` of your own calls it so that each step is logged with its true values.

        Args:
            loss: this batch's loss, a scalar.
            gradients: the gradients of the scaled loss, a list, None where there is none.
        """
        record = _RECORD.get()
        if record is None:
            return
        record.loss, gradients = self.sum_over_replicas(loss, gradients or [])
        if gradients:
            record.gradient_norm = tf.cond(
                record.is_due | ~tf.math.is_finite(record.loss),
                lambda: self._global_norm(gradients),
                lambda: tf.constant(float("nan")),
            )

    def _global_norm(self, gradients):
        present = [tf.cast(gradient, tf.float32) for gradient in _present(gradients)]
        return tf.linalg.global_norm(present) / self.optimizer.scale_loss(tf.ones(()))

    @contextlib.contextmanager
    def recording(self, record: StepRecord) -> Iterator[None]:
        """Let `record_step` write into a ``mnist_keras.model.multi_step.StepRecord`` meanwhile."""
        token = _RECORD.set(record)
        try:
            yield
        finally:
            _RECORD.reset(token)

    # A property, since Keras does not compile a loaded model whose class has a compile of its own.
    @property
    def steps_per_execution(self) -> int:
        """How many steps one call of the device runs, a whole number.

        Set to "auto" it is 100 at most, and as many as take about half a second.
        """
        return self._steps_per_execution

    @steps_per_execution.setter
    def steps_per_execution(self, steps: int | Literal["auto"]) -> None:
        self.chooses_steps = steps == "auto"
        self._steps_per_execution = AUTO_STEPS_PER_EXECUTION if self.chooses_steps else steps

    def make_train_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Make ``train_function(iterator)``, which runs steps_per_execution true steps."""
        if self.train_function is None or force:
            is_alone = _keras.strategy_of(self) is None
            self.train_function = (MultiStepFunction if is_alone else ReplicatedStepFunction)(self)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Make ``test_function(iterator)``, as ``keras.Model`` does, for any strategy."""
        if _keras.strategy_of(self) is None:
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = ReplicatedTestFunction(self)
        return self.test_function

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As ``keras.Model.fit``; goes on from a `Checkpoint` among the callbacks.

        The callbacks are called at every step where one of them asks for it, between the
        executions too, and their ``close`` is called when training ends by an exception.
        """
        bound = _FIT.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        self._share_streams(arguments["x"], arguments["validation_data"])
        callbacks = FitCallbacks(
            self,
            arguments["callbacks"],
            stream=arguments["x"],
            verbose=arguments["verbose"],
            epochs=arguments["epochs"],
        )
        arguments["callbacks"] = self.fit_callbacks = callbacks
        arguments["initial_epoch"] = callbacks.resume(arguments["initial_epoch"])
        try:
            return super().fit(**arguments)
        finally:
            self.fit_callbacks = None
            callbacks.close()

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As ``keras.Model.evaluate``."""
        self._share_streams(x)
        return super().evaluate(x, *args, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """As ``keras.Model.export``; what is wrapped is written, and need not have been called."""
        if isinstance(self.wrapped_network, keras.Model) and type(self).call is TapeModel.call:
            self.network.export(*args, **kwargs)
        else:
            super().export(*args, **kwargs)

    def _share_streams(self, *data):
        for stream in data:
            if isinstance(stream, BatchStream):
                stream.share_among(self.distribute_strategy)

    # Overrides a private method of Keras, see mnist_keras/_keras.py.
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if iterator is not None and self.fit_callbacks is not None:
            self.fit_callbacks.set_data(iterator)
        if is_wholly_built(self):
            return
        if iterator is not None:
            data_batch = _example_batch(iterator.data_adapter)
        strategy = _keras.strategy_of(self)
        if strategy is not None:
            with strategy.scope():
                _keras.build_symbolically(self, data_batch)
            return
        # What cannot be built so, as a train_step without a call, is built by tracing the step.
        with contextlib.suppress(Exception):
            _keras.build_symbolically(self, data_batch)

    def get_config(self) -> dict[str, Any]:
        """The wrapped network, or the functional model's graph."""
        config = super().get_config()
        if self._wraps_network:
            config["network"] = keras.saving.serialize_keras_object(self.network)
            config["batch_parts"] = self.batch_parts
        return config

    def __reduce__(self) -> tuple[Any, ...]:
        """As ``keras.Model``; pickle finds no functional twin under its name, so none is named."""
        _, *arguments = super().__reduce__()
        return _keras.unpickler_of(TapeModel), *arguments

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "TapeModel":
        """The model that `get_config` described."""
        if config.keys() >= {"network", "batch_parts"}:  # As `get_config` writes them.
            network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
            return cls(**{**config, "network": network})
        return super().from_config(config, custom_objects)


def _present(gradients):
    """Those of the weights that the loss depends on."""
    return [gradient for gradient in gradients if gradient is not None]


def _early(gradients):
    """Gradients that are there before the largest ones: those of the biases."""
    return [gradient for gradient in _present(gradients) if len(gradient.shape) < 2]


def _example_batch(data_adapter):
    """What a batch looks like; where its rank is not known, a batch itself."""
    if isinstance(data_adapter, BatchStream):
        return data_adapter.element_spec
    dataset = data_adapter.get_tf_dataset()
    spec = dataset.element_spec
    if all(part.shape.rank is not None for part in tf.nest.flatten(spec)):
        return spec
    return next(iter(dataset))
