"""TapeModel: a Keras model whose training step is a ``tf.GradientTape`` in the open."""

import contextlib
import functools
import inspect

import keras
import tensorflow as tf

# Registers SumSquaredError too: a saved model may have been compiled with it.
from mnist_keras import losses  # noqa: F401
from mnist_keras.fit_callbacks import FitCallbacks
from mnist_keras.keras_internals import Functional
from mnist_keras.multi_step import MultiStepFunction, is_wholly_built

AUTO_STEPS_PER_EXECUTION = 100

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

    Attributes:
        steps_trained: updates done since the first fit, also before an interruption.
        step_records: `mnist_keras.multi_step.StepRecords` of the steps just run, for callbacks.
        fit_callbacks: the `mnist_keras.fit_callbacks.FitCallbacks` of the fit that runs, or None.

    Example:

    >>> import keras, numpy as np
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse", steps_per_execution=4)
    >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=2, verbose=0)
    >>> sorted(history.history)
    ['loss']
    """

    def __new__(cls, *args, **kwargs):
        """Functional arguments make a functional model, as they do for ``keras.Model``."""
        if _are_functional(args, kwargs) and not issubclass(cls, Functional):
            cls = _functional_twin(cls)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args, **kwargs):
        network = None
        if isinstance(self, Functional):
            # keras.Model.__init__ would put Functional among the bases of TapeModel for good.
            super(keras.Model, self).__init__()
            Functional.__init__(self, *args, **kwargs)
        else:
            if args:
                network, *args = args
            network = kwargs.pop("network", network)
            super().__init__(*args, **kwargs)
        self.network = network
        self.steps_trained = 0
        self.step_records = None
        self.fit_callbacks = None
        self._record = None

    def call(self, inputs, training=None, mask=None):
        """The wrapped network's output, or the functional model's own."""
        if self.network is None:
            return super().call(inputs, training=training, mask=mask)
        return self.network(inputs)

    def train_step(self, data):
        """One step of the tutorial: forward, loss, gradient, update.

        Args:
            data: (x, y) or (x, y, sample_weight), one batch; y and sample_weight may be None.

        Returns:
            The metrics so far in this epoch, {name: scalar}.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        with tf.GradientTape() as tape:
            y_pred = self(x, training=True) if self._call_has_training_arg else self(x)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)

        variables = self.trainable_weights
        gradients = tape.gradient(scaled_loss, variables)
        self.record_step(loss=loss, gradients=gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

        self._loss_tracker.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def record_step(self, *, loss, gradients=None):
        """Keep this step's own loss, and its gradient norm where somebody asks for it.

        That is a callback, or anybody after a loss that is not finite.

        A ``train_step`` of your own calls it so that each step is logged with its true values.

        Args:
            loss: this batch's loss, a scalar.
            gradients: the gradients of the scaled loss, a list, None where there is none.
        """
        if self._record is None:
            return
        self._record.loss = loss
        if gradients is not None:
            self._record.gradient_norm = tf.cond(
                self._record.is_due | ~tf.math.is_finite(loss),
                lambda: self._global_norm(gradients),
                lambda: tf.constant(float("nan")),
            )

    def _global_norm(self, gradients):
        present = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
        return tf.linalg.global_norm(present) / self.optimizer.scale_loss(tf.ones(()))

    @contextlib.contextmanager
    def recording(self, record):
        """Let `record_step` write into a `mnist_keras.multi_step.StepRecord` meanwhile."""
        self._record = record
        try:
            yield
        finally:
            self._record = None

    # A property, since Keras does not compile a loaded model whose class has a compile of its own.
    @property
    def steps_per_execution(self):
        """How many steps one call of the device runs, a whole number; set to "auto" it chooses."""
        return self._steps_per_execution

    @steps_per_execution.setter
    def steps_per_execution(self, steps):
        self._steps_per_execution = AUTO_STEPS_PER_EXECUTION if steps == "auto" else steps

    def make_train_function(self, force=False):
        """Make ``train_function(iterator)``, which runs steps_per_execution true steps."""
        if self.train_function is None or force:
            self.train_function = MultiStepFunction(self)
        return self.train_function

    def fit(self, *args, **kwargs):
        """As ``keras.Model.fit``; goes on from a `Checkpoint` among the callbacks.

        The callbacks are called at every step where one of them asks for it, between the
        executions too, and their ``close`` is called when training ends by an exception.
        """
        arguments = _FIT.bind(self, *args, **kwargs)
        arguments.apply_defaults()
        arguments = dict(arguments.arguments)
        del arguments["self"]
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

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Built before the first callback runs, so that a checkpoint can be restored strictly.
        if iterator is not None and self.fit_callbacks is not None:
            self.fit_callbacks.set_data(iterator)
        if is_wholly_built(self):
            return
        if iterator is not None:
            data_batch = _example_batch(iterator.data_adapter.get_tf_dataset())
        self._symbolic_build(data_batch=data_batch)

    def get_config(self):
        """The wrapped network, or the functional model's graph."""
        config = super().get_config()
        if self.network is not None:
            config["network"] = keras.saving.serialize_keras_object(self.network)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that `get_config` described."""
        if "network" in config:
            network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
            return cls(**{**config, "network": network})
        return super().from_config(config, custom_objects)


def _example_batch(dataset):
    """What a batch looks like; where its rank is not known, a batch itself."""
    spec = dataset.element_spec
    if all(part.shape.rank is not None for part in tf.nest.flatten(spec)):
        return spec
    return next(iter(dataset))


def _are_functional(args, kwargs):
    """Whether these are (inputs, outputs), by position or by name, as Keras tells."""
    return len(args) == 2 or "outputs" in kwargs


@functools.cache
def _functional_twin(cls):
    """A subclass of ``cls`` that is a functional model too, saved under the name of ``cls``."""
    twin = type(
        cls.__name__,
        (cls, Functional),
        {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__},
    )
    name = keras.saving.get_registered_name(cls)
    if ">" in name:
        keras.saving.register_keras_serializable(*name.split(">"))(twin)
        keras.saving.get_custom_objects()[name] = cls
    return twin
