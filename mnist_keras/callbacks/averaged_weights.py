"""Validates the moving average of the weights; training continues with the weights themselves."""

from typing import Any

import keras
import numpy as np

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.checkpoint import backends
from mnist_keras.errors import UsageError


class AveragedWeights(StepCallback):
    """Validates the optimizer's moving average of the weights in each epoch of ``fit``.

    During a validation the trainable weights hold their averages. Afterwards the weights are
    restored bit for bit, so neither the training nor a `Checkpoint` changes. When training ends,
    after the last checkpoint, Keras itself puts the averages into the model. The statistics of
    batch normalization are not averaged again.

    An optimizer keeps averages if it was created with ``use_ema=True``; ``ema_momentum`` is their
    decay per step.

    Raises:
        UsageError: raised from ``fit`` if the optimizer keeps no averages.

    Example:

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer=keras.optimizers.SGD(use_ema=True, ema_momentum=0.9), loss="mse")
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> history = model.fit(
    ...     x, y, batch_size=2, verbose=0, validation_data=(x, y), callbacks=[AveragedWeights()]
    ... )
    >>> model.evaluate(x, y, verbose=0) == history.history["val_loss"][-1]
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self._weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        optimizer = self.model.optimizer
        if not getattr(optimizer, "inner_optimizer", optimizer).use_ema:
            raise UsageError(
                "the optimizer does not average the weights. Received: use_ema=False. "
                "Expected: an optimizer made with use_ema=True."
            )

    def on_test_begin(self, logs: Logs = None) -> None:
        # An earlier fit may have stopped during validation without closing its callbacks.
        self.close()
        if not has_averages(self.model.optimizer):
            return  # Evaluated before any training.
        variables = self.model.trainable_variables
        self._weights = [backends.host_array(variable) for variable in variables]
        self.model.optimizer.finalize_variable_values(variables)
        if backends.name() == "jax":
            # The weights share their memory with the averages then, and the validation frees it.
            for variable in variables:
                variable.assign(backends.host_array(variable))

    def on_test_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        """Put the weights back after an interrupted validation."""
        if self._weights is None:
            return
        for variable, weight in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(weight)
        self._weights = None


def has_averages(optimizer: Any) -> bool:
    """Whether an optimizer keeps averages of the weights and has made a step; before, they are 0.

    >>> has_averages(keras.optimizers.SGD(use_ema=True))
    False
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not (getattr(inner, "use_ema", False) and inner.built):
        return False
    return bool(keras.ops.convert_to_numpy(inner.iterations) > 0)
