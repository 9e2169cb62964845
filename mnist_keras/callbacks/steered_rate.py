"""The learning rate of an optimizer, in the hands of a callback."""

from typing import Any

import keras

from mnist_keras import _keras


class SteeredRate:
    """Lets a callback set the learning rate of an optimizer, also of one that has a schedule.

    Create it before the training step is traced, in the scope of the model's strategy. The step
    then reads the rate from a variable.

    Args:
        optimizer: the optimizer, or one that wraps it.

    Example:

    >>> sgd = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9))
    >>> rate = SteeredRate(sgd)
    >>> rate.assign(0.25)
    >>> float(sgd.learning_rate)
    0.25
    >>> rate.release()
    >>> float(sgd.learning_rate)
    0.5
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        self._former = _keras.learning_rate_of(self._optimizer)
        self._variable = self._former
        if isinstance(self._former, keras.Variable):
            self._value = keras.ops.convert_to_numpy(self._former).copy()
        else:
            variable = keras.Variable(0.0, trainable=False, name="steered_learning_rate")
            self._variable = variable
            self._optimizer.learning_rate = lambda: variable

    def assign(self, rate: float) -> None:
        """Set the rate of the next steps."""
        self._variable.assign(rate)

    def release(self) -> None:
        """Give the optimizer its rate or its schedule back, to the bit."""
        if self._variable is self._former:
            self._variable.assign(self._value)
        else:
            self._optimizer.learning_rate = self._former
