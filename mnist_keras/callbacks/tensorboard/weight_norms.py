"""The norm of each layer's weights, and the relative size of an update, as curves."""

import collections
import math

import tensorflow as tf

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import require_single_steps
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback
from mnist_keras.checkpoint import backends


class WeightNorms(EventCallback):
    """Writes ``weight_norm/LAYER`` and ``update_ratio/LAYER`` every ``every_epochs`` epochs.

    The norm is the Euclidean norm of all trainable weights of the layer. The ratio is the norm of
    the change by the epoch's first update, divided by the norm before it. About 1e-3 is usual; if
    it is far larger, the learning rate is too high; if far smaller, too low. Both values come from
    that single step, so a resumed run writes the same values. An execution of a `TapeModel` is
    split before and after that step. A plain ``keras.Model`` that is built by its first batch
    writes no values in the first epoch.

    Args:
        logdir: the run's directory.
        every_epochs: interval in epochs.

    Raises:
        UsageError: ``every_epochs`` is not an integer of at least 1; or, during ``fit``, a plain
            ``keras.Model`` runs several steps per execution.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> norms = WeightNorms(tempfile.mkdtemp())
    >>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[norms])
    """

    def __init__(self, logdir: StrPath, *, every_epochs: int = 1) -> None:
        super().__init__(logdir)
        self._is_due = triggers.every(every_epochs, of="epochs")
        self._update_step: int | None = None
        self._before: list[tf.Tensor] = []

    def breaks_execution_at(self, step: int) -> bool:
        """Whether the update of step ``step`` is measured, or the update of the step before it."""
        return self._update_step is not None and step - self._update_step in (0, 1)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._update_step = None
        if not self._is_due(epoch):
            return
        steps = getattr(_inner(self.model.optimizer), "gradient_accumulation_steps", None) or 1
        first = self.step - self.fit.steps_skipped
        # The epoch's first step that applies the accumulated gradients.
        self._update_step = first + (-first - 1) % steps

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        require_single_steps(self)
        is_due = self.step == self._update_step
        self._before = _tensors(self.model) if is_due else []

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._before:
            after = _tensors(self.model)
            norms = _norms(self.model.trainable_variables, self._before, after)
            self.log_scalars(norms, keep=False)
            self._before = []
        super().on_train_batch_end(batch, logs)


def _inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)


def _tensors(model):
    backends.synchronize(model)
    # Casting a variable to its own dtype returns the variable, not its current value.
    return [tf.cast(_held(variable), tf.float32) for variable in model.trainable_variables]


def _held(variable):
    is_tensor = backends.is_tensorflow()
    return tf.convert_to_tensor(variable.value if is_tensor else backends.host_array(variable))


def _norms(variables, before, after):
    """{tag: number}."""
    squares: dict[str, float] = collections.defaultdict(float)
    squares_of_update: dict[str, float] = collections.defaultdict(float)
    for variable, old, new in zip(variables, before, after, strict=True):
        layer = variable.path.rpartition("/")[0]
        squares[layer] += 2 * float(tf.nn.l2_loss(old))
        squares_of_update[layer] += 2 * float(tf.nn.l2_loss(new - old))
    norms = {}
    for layer, square in squares.items():
        norms[f"weight_norm/{layer}"] = math.sqrt(square)
        if square > 0:
            norms[f"update_ratio/{layer}"] = math.sqrt(squares_of_update[layer] / square)
    return norms
