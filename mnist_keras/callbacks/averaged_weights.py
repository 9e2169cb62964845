"""Validation of the moving average of the weights, while the training goes on with the weights."""

from typing import Any

import keras
import numpy as np

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.errors import UsageError


class AveragedWeights(StepCallback):
    """Validates, in each epoch of ``fit``, the average of the weights that the optimizer keeps.

    During a validation the model's trainable weights are their averages, and afterwards, to the
    bit, what they were: neither the training nor a `Checkpoint` is changed. Nothing has to be done
    at the end, where Keras itself puts the averages into the model for good, after the last
    checkpoint. The statistics of a batch normalization are not averaged again.

    An optimizer keeps averages where it was made with ``use_ema=True``; ``ema_momentum`` is their
    decay per step.

    Raises:
        UsageError: out of ``fit``, when the optimizer keeps none.

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
                "the optimizer keeps no average of the weights. Received: use_ema=False. "
                "Expected: an optimizer made with use_ema=True."
            )

    def on_test_begin(self, logs: Logs = None) -> None:
        # A fit that was broken off in its validation, and whose callbacks nobody closed.
        self.close()
        if not has_averages(self.model.optimizer):
            return  # Evaluated before any training.
        variables = self.model.trainable_variables
        self._weights = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        self.model.optimizer.finalize_variable_values(variables)

    def on_test_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        """Put the weights back after a validation that was broken off."""
        if self._weights is None:
            return
        for variable, weight in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(weight)
        self._weights = None


def has_averages(optimizer: Any) -> bool:
    """Whether an optimizer keeps averages of the weights, and has made a step; else they are 0.

    >>> has_averages(keras.optimizers.SGD(use_ema=True))
    False
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not (getattr(inner, "use_ema", False) and inner.built):
        return False
    return bool(keras.ops.convert_to_numpy(inner.iterations) > 0)
