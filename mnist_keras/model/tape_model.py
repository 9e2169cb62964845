"""TapeModel: a Keras model whose training step is a readable ``tf.GradientTape``."""

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
from mnist_keras.checkpoint import backends, model_variables
from mnist_keras.data.stream import BatchStream, raising_read_errors
from mnist_keras.distributed import replicas
from mnist_keras.distributed.workers import workers_of
from mnist_keras.errors import UsageError
from mnist_keras.model import batch_split
from mnist_keras.model.callback_list import FitCallbacks
from mnist_keras.model.evaluation import Evaluation, MultiStepTestFunction, evaluating
from mnist_keras.model.functional_twin import are_functional, functional_twin

# Both are registered by their import, because a saved model may be compiled with them.
from mnist_keras.model.losses import SumSquaredError  # noqa: F401
from mnist_keras.model.multi_step import MultiStepFunction, StepRecord, StepRecords, is_wholly_built
from mnist_keras.model.optimizers import SGD  # noqa: F401
from mnist_keras.model.pace import MOST_STEPS
from mnist_keras.model.replicated_steps import ReplicatedStepFunction, ReplicatedTestFunction
from mnist_keras.model.saved_config import require_complete

Gradients = list[tf.Tensor | None]  # None if the loss does not depend on the weight

# Each replica's step is traced in a separate thread, and so in a separate context.
_RECORD: contextvars.ContextVar[StepRecord | None] = contextvars.ContextVar("record", default=None)

_COMPILE = inspect.signature(keras.Model.compile)
_FIT = inspect.signature(keras.Model.fit)
_EVALUATE = inspect.signature(keras.Model.evaluate)
_MAKERS = ("make_train_function", "make_test_function", "make_predict_function")
_MADE = (MultiStepFunction, MultiStepTestFunction, ReplicatedTestFunction)


@keras.saving.register_keras_serializable(package="mnist_keras")
class TapeModel(keras.Model):
    """A ``keras.Model`` with a readable train_step that runs many steps per execution.

    There are three ways to make one:

    - ``TapeModel(network)`` wraps any layer or model;
    - ``TapeModel(inputs=..., outputs=...)`` is a functional model;
    - a subclass defines ``call`` or ``train_step``.

    ``compile``, ``fit``, ``evaluate`` and ``predict`` take the same arguments as in Keras.
    ``fit`` runs many steps in one call of the device. The results do not depend on how many; see
    `compile`. If the callbacks of ``fit`` include a
    `mnist_keras.callbacks.Checkpoint`, ``fit`` resumes from its newest checkpoint, also in the
    middle of an epoch.

    Args:
        network: the layer or model to wrap.
        batch_parts: the number of parts into which each batch is cut for the wrapped network. The
            parts are computed in parallel, one on each thread of TensorFlow's inter-op pool. On a
            few cores this is faster than using all cores for one product. For 2 parts on 2 cores,
            call ``tf.config.threading.set_inter_op_parallelism_threads(2)`` and
            ``set_intra_op_parallelism_threads(1)``. Sums over the batch are taken in a different
            order, so the losses agree with those of 1 part to about 1e-6.

    Raises:
        UsageError: Keras has another backend than TensorFlow; ``network`` is neither a layer nor a
            model; or ``batch_parts`` is not an integer of at least 1; or it is above 1, and there
            is no wrapped network or the network normalizes over the batch.

    Attributes:
        steps_trained: number of updates since the first fit, including those before an
            interruption.
        step_records: the `mnist_keras.model.multi_step.StepRecords` of the last execution; None
            before the first one.
        examples_in_epoch: number of examples of the current epoch that were trained on when the
            last execution ended, since a resume at most; None for a stream on one worker.
        fit_callbacks: the ``mnist_keras.model.callback_list.FitCallbacks`` of the running fit, or
            None.
        evaluation: the ``mnist_keras.model.evaluation.Evaluation`` that runs, or None.

    Example:

    >>> import keras, numpy as np
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=2, verbose=0)
    >>> sorted(history.history)
    ['loss']
    """

    train_function: Any
    test_function: Any
    _steps_per_execution: Any

    def __init__(self, *args: Any, batch_parts: int = 1, **kwargs: Any) -> None:
        backends.require_tensorflow("TapeModel")
        network: Any = None
        if are_functional(args, kwargs):
            # keras.Model.__init__ would permanently add Functional to the bases of TapeModel.
            if not isinstance(self, _keras.Functional):
                twin = functional_twin(type(self))  # type: ignore[arg-type]  # A class can be hashed.
                self.__class__ = twin
            super(keras.Model, self).__init__()
            Functional.__init__(self, *args, **kwargs)
        else:
            network, *others = args or (kwargs.pop("network", None),)
            if network is not None and not callable(network):
                raise UsageError(
                    f"the network cannot be wrapped. Received: {type(network).__name__}. Expected: "
                    "a layer or a model, such as keras.Sequential(layers)."
                )
            super().__init__(*others, **kwargs)
        # A subclass may define its own `network`, which is not wrapped.
        self._wraps_network = network is not None
        self.network = network
        if hasattr(network, "output_names"):
            # Losses and metrics are matched to outputs by these names.
            self.output_names = network.output_names
        if getattr(network, "built", False) and type(self).build is keras.Model.build:
            self.built = True  # So that weights can be loaded before the first call.
        self.batch_parts = batch_parts
        batch_split.require(batch_parts, network)
        self.steps_trained = 0
        self.step_records: StepRecords | None = None
        self.examples_in_epoch: int | None = None
        self.fit_callbacks: FitCallbacks | None = None
        self.evaluation: Evaluation | None = None

    @property
    def wrapped_network(self) -> Any:
        """The network that the model wraps, or None."""
        return self.network if self._wraps_network else None

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the output of the wrapped network, or of the functional model."""
        if not self._wraps_network:
            return super().call(inputs, training=training, mask=mask)
        # The parts are computed in parallel only in a graph.
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
        """Compute the loss as ``keras.Model.compute_loss`` does, or this replica's part of it.

        In a training step on several replicas, each replica computes its part of the loss. The sum
        of the parts is the loss of the global batch, also if the shards differ in size.
        """
        loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        return replicas.loss_contribution(loss, y_pred) if training else loss

    def sum_over_replicas(
        self, loss: tf.Tensor, gradients: Gradients
    ) -> tuple[tf.Tensor, Gradients]:
        """Sum the loss and the gradients over all replicas.

        A custom ``train_step`` calls it before it uses its gradients, for example to clip them.
        Otherwise they are summed when they are applied. Without replicas it returns its arguments.

        Args:
            loss: the result of `compute_loss`, a scalar.
            gradients: a list of tensors; None for a weight without a gradient.

        Returns:
            (loss, gradients) of the global batch.
        """
        replica = replicas.current()
        if replica is None:
            return loss, gradients
        replica.add_contribution(loss)
        loss, *gradients = replica.all_reduce_sum([loss, *gradients])
        return loss, gradients

    def record_step(
        self,
        *,
        loss: Any = None,
        losses: dict[str, Any] | None = None,
        gradients: Gradients | dict[str, Gradients] | None = None,
        learning_rate: Any = None,
        **values: Any,
    ) -> None:
        """Record losses and other numbers of this step, to be logged at its number.

        A custom ``train_step`` need not call it. Without it, each loss in the returned logs is
        recorded: its name ends with "loss". If the log is the result of a metric, the recorded
        value is what the metric makes of this step alone. The learning rate and the gradient norm
        of each optimizer that the step applies are recorded too. If an optimizer is applied several
        times in a step, the norm is that of the last time. ``record_step`` adds other values, or
        replaces these.

        A norm is computed if a callback asks for it or if a loss is not finite. Training stops at
        the first step with a loss that is not finite.

        Args:
            loss: the loss of this batch, a scalar.
            losses: several losses, {name: scalar}.
            gradients: the gradients of the scaled loss, a list of tensors; None for a weight
                without a gradient. For several optimizers {name: list}; the name of an optimizer is
                the attribute that holds it.
            learning_rate: the learning rate, a scalar; for several optimizers {name: scalar}.
            values: other numbers, {name: scalar}.

        Example: two losses, and the gradients of two optimizers.

        >>> import keras, numpy as np, tensorflow as tf
        >>> from mnist_keras.callbacks import StepLogger
        >>> class Two(TapeModel):
        ...     def train_step(self, data):
        ...         gradients = [tf.constant([3.0, 4.0])]
        ...         self.record_step(
        ...             losses={"d_loss": tf.constant(0.5), "g_loss": tf.constant(2.0)},
        ...             gradients={"d_optimizer": gradients, "g_optimizer": gradients},
        ...         )
        ...         return {}
        >>> model = Two()
        >>> model.compile()
        >>> _ = model.fit(np.zeros((4, 1)), batch_size=4, verbose=0, callbacks=[StepLogger(None)])
        0
        0 0 d_loss: 0.5 g_loss: 2.0
        """
        record = _RECORD.get()
        if record is None:
            return
        named = gradients if isinstance(gradients, dict) else {"": gradients or []}
        own = {} if loss is None else {"loss": loss}
        given = {**own, **(losses or {})}
        summed, gradients_of = self._sum_over_replicas(given, named)
        record.losses.update(summed)
        rates = learning_rate if isinstance(learning_rate, dict) else {"": learning_rate}
        record.learning_rates.update({n: rate for n, rate in rates.items() if rate is not None})
        record.others.update(_mean_over_replicas(values))
        held = model_variables.optimizers(self) if isinstance(gradients, dict) else {}
        for name, parts in gradients_of.items():
            optimizer = held.get(name, self.optimizer)
            scale = 1.0 if optimizer is None else optimizer.scale_loss(tf.ones(()))
            record.add_gradient_norm(name, parts, scale=scale)

    def _sum_over_replicas(self, losses, gradients):
        """Sum losses {name: scalar} and gradients {name: list} by one collective call."""
        replica = replicas.current()
        if replica is None:
            return losses, gradients
        for loss in losses.values():
            replica.add_contribution(loss)
        parts = [*losses.values(), *(part for listed in gradients.values() for part in listed)]
        summed = iter(replica.all_reduce_sum(parts))
        losses = {name: next(summed) for name in losses}
        return losses, {name: [next(summed) for _ in parts] for name, parts in gradients.items()}

    @contextlib.contextmanager
    def recording(self, record: StepRecord) -> Iterator[None]:
        """Let `record_step` write to a ``mnist_keras.model.multi_step.StepRecord``."""
        token = _RECORD.set(record)
        try:
            yield
        finally:
            _RECORD.reset(token)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configure the model as ``keras.Model.compile`` does, with one other default.

        ``steps_per_execution`` is the number of steps that one call of the device runs. By default
        it is "auto": as many steps as take about half a second, at most 100. It is one step if a
        callback that is not a `mnist_keras.callbacks.base.StepCallback` has a hook for each batch.
        """
        arguments = dict(_COMPILE.bind(self, *args, **kwargs).arguments)
        del arguments["self"]
        super().compile(**{"steps_per_execution": "auto", **arguments})

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile the model with the arguments that ``get_compile_config`` returned."""
        if type(self).compile is not TapeModel.compile:  # Keras warns of an overridden one.
            super().compile_from_config(config)
            return
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def steps_per_execution(self) -> int:
        """The number of steps that one call of the device runs; with "auto" the largest number."""
        return self._steps_per_execution

    @steps_per_execution.setter
    def steps_per_execution(self, steps: int | Literal["auto"]) -> None:
        # A function of the user's own may run only as many steps as it is told.
        runs_own = any(getattr(type(self), m) is not getattr(TapeModel, m) for m in _MAKERS)
        self.chooses_steps = steps == "auto" and not runs_own
        if steps == "auto":
            steps = 1 if runs_own else MOST_STEPS
        self._steps_per_execution = steps

    @contextlib.contextmanager
    def _single_steps(self, *, are_needed):
        """Run one step per execution if needed, unless the user chose the number."""
        former = self._steps_per_execution
        if are_needed and self.chooses_steps:
            self._steps_per_execution = 1
        try:
            yield
        finally:
            self._steps_per_execution = former

    def make_train_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Make ``train_function(iterator)``, which runs steps_per_execution steps."""
        if self.train_function is None or force:
            is_alone = _keras.strategy_of(self) is None
            self.train_function = (MultiStepFunction if is_alone else ReplicatedStepFunction)(self)
        return self.train_function

    def cuts_arrays(self, phase: Literal["train", "test"]) -> bool:
        """Whether the train or test function cuts arrays into batches itself."""
        return _keras.strategy_of(self) is None and not self.runs_own(phase)

    def runs_own(self, phase: Literal["train", "test"]) -> bool:
        """Whether the train or test function is one of the program's own."""
        maker, made = f"make_{phase}_function", getattr(self, f"{phase}_function")
        if getattr(getattr(self, maker), "__func__", None) is not getattr(TapeModel, maker):
            return True
        return made is not None and not isinstance(made, _MADE)

    def make_test_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Make ``test_function(iterator)``, which evaluates the next batches."""
        if self.test_function is None or force:
            is_alone = _keras.strategy_of(self) is None
            self.test_function = (MultiStepTestFunction if is_alone else ReplicatedTestFunction)(
                self
            )
        return self.test_function

    @property
    def own_train_function(self) -> Callable[[Any], Any] | None:
        """The train function of the program's own that the running fit calls in Python, or None."""
        own = None if self.fit_callbacks is None else self.fit_callbacks.own_function
        return own.function if own is not None and own.runs_python else None

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as ``keras.Model.fit`` does; resume from a `Checkpoint` among the callbacks.

        The callbacks are called at every step at which one of them asks for it, also in the middle
        of an execution. Their ``close`` is called even if training ends by an exception.
        """
        bound = _FIT.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        self._share_streams(
            {"data": arguments["x"], "validation data": arguments["validation_data"]}
        )
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
            with (
                workers_of(self).naming_lost_ones(),
                raising_read_errors(arguments["x"]),
                self._single_steps(
                    are_needed=callbacks.see_batches("train") or self.runs_own("train")
                ),
            ):
                return super().fit(**arguments)
        finally:
            self.fit_callbacks = None
            callbacks.close()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as ``keras.Model.evaluate`` does, many batches in one call of the device."""
        bound = _EVALUATE.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        self._share_streams({"data": arguments["x"]})
        with (
            raising_read_errors(arguments["x"]),
            evaluating(self, arguments["callbacks"], verbose=arguments["verbose"]) as evaluation,
        ):
            arguments["callbacks"] = evaluation.callbacks
            return super().evaluate(**arguments.pop("kwargs"), **arguments)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as ``keras.Model.predict`` does."""
        # Keras would write a copy of the network into the graph for each step of an execution.
        data = [*args[:1], kwargs.get("x")]
        with self._single_steps(are_needed=True), raising_read_errors(*data):
            return super().predict(*args, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Export as ``keras.Model.export`` does; a wrapped model is exported itself.

        So the `TapeModel` need not have been called before.
        """
        if isinstance(self.wrapped_network, keras.Model) and type(self).call is TapeModel.call:
            self.network.export(*args, **kwargs)
        else:
            super().export(*args, **kwargs)

    def _share_streams(self, data):
        """Divide the batches of streams, {what they are: data}, among the replicas."""
        workers = workers_of(self)
        is_validation = self.fit_callbacks is not None  # `fit` has compared its data.
        for what, stream in data.items():
            if isinstance(stream, BatchStream):
                stream.share_among(self.distribute_strategy)
                if workers.are_several and not is_validation:
                    workers.require_same(what, stream.identity)

    # Overrides a private method of Keras; see mnist_keras/_keras.py.
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if iterator is not None and self.fit_callbacks is not None:
            self.fit_callbacks.set_data(iterator)
        if iterator is not None and self.evaluation is not None:
            self.evaluation.begin(iterator, cuts_arrays=self.cuts_arrays("test"))
        if is_wholly_built(self):
            return
        if iterator is not None:
            data_batch = _example_batch(iterator.data_adapter)
        strategy = _keras.strategy_of(self)
        if strategy is not None:
            with strategy.scope():
                _keras.build_symbolically(self, data_batch)
            return
        # A model without `call` cannot be built so. It is built later, when its step is traced.
        with contextlib.suppress(Exception):
            _keras.build_symbolically(self, data_batch)

    def get_config(self) -> dict[str, Any]:
        """Return the config of the wrapped network, or of the functional model.

        Raises:
            NotImplementedError: ``__init__`` of a subclass requires arguments, and the subclass
                does not define ``get_config``; as in Keras.
        """
        config = super().get_config()
        if self._wraps_network:
            config["network"] = keras.saving.serialize_keras_object(self.network)
            config["batch_parts"] = self.batch_parts
        require_complete(config, type(self), base=TapeModel)
        return config

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as TapeModel, because pickle cannot find a functional twin by its name."""
        _, *arguments = super().__reduce__()
        return _keras.unpickler_of(TapeModel), *arguments

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "TapeModel":
        """Make the model from the config that `get_config` returned."""
        if config.keys() >= {"network", "batch_parts"}:  # As `get_config` writes them.
            network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
            return cls(**{**config, "network": network})
        return super().from_config(config, custom_objects)


def _mean_over_replicas(values):
    """The means of scalars {name: scalar} over all replicas."""
    replica = replicas.current()
    if replica is None or not values:
        return values
    tensors = [tf.cast(value, tf.float32) for value in values.values()]
    return dict(zip(values, replica.all_reduce(tensors), strict=True))


def _early(gradients):
    """The gradients of the biases, which are computed before the largest ones."""
    return [g for g in gradients if g is not None and len(g.shape) < 2]


def _example_batch(data_adapter):
    """The element spec of a batch, or a batch itself if a rank is unknown."""
    if isinstance(data_adapter, BatchStream):
        return data_adapter.element_spec
    dataset = data_adapter.get_tf_dataset()
    spec = dataset.element_spec
    if all(part.shape.rank is not None for part in tf.nest.flatten(spec)):
        return spec
    return next(iter(dataset))
