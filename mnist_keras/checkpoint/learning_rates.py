"""The learning rates that a program gives its optimizers, and those that a resume uses."""

from typing import Any

import keras
import tensorflow as tf

from mnist_keras.checkpoint import model_variables


def learning_rates(model: Any) -> dict[str, float]:
    """{attribute: present learning rate} of a model's optimizers, without those on a schedule.

    Example:

    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer=keras.optimizers.SGD(0.5))
    >>> learning_rates(model)
    {'optimizer': 0.5}
    """
    return {
        # With several replicas only a tensor becomes a number.
        path: float(tf.convert_to_tensor(optimizer.learning_rate.value))
        for path, optimizer in _own_optimizers(model).items()
        if _is_variable(optimizer)
    }


def assign(model: Any, rates: dict[str, float]) -> None:
    """Set the learning rates that `learning_rates` returned, or some of them."""
    optimizers = _own_optimizers(model)
    for path, rate in rates.items():
        optimizers[path].learning_rate = rate


def begin_schedules(model: Any) -> None:
    """Let each schedule of a learning rate begin anew: it is a function of the iterations."""
    for optimizer in _own_optimizers(model).values():
        if not _is_variable(optimizer):
            optimizer.iterations.assign(0)


def changed(
    rates: dict[str, float], *, begun: dict[str, float], restored: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """{attribute: (restored, the program's)} of the rates that the program has changed.

    A rate that a callback has changed is not among them: then the program has the same rate as at
    the beginning of the training.

    Args:
        rates: the program's present rates.
        begun: the program's rates when the training began.
        restored: those of the checkpoint.

    Example:

    >>> begun = {"optimizer": 0.1}
    >>> changed({"optimizer": 0.1}, begun=begun, restored={"optimizer": 0.05})
    {}
    >>> changed({"optimizer": 0.2}, begun=begun, restored={"optimizer": 0.05})
    {'optimizer': (0.05, 0.2)}
    """
    return {
        path: (restored[path], rate)
        for path, rate in rates.items()
        if rate not in (begun.get(path, rate), restored[path])
    }


def _own_optimizers(model):
    return {
        path: getattr(optimizer, "inner_optimizer", optimizer)
        for path, optimizer in model_variables.optimizers(model).items()
    }


def _is_variable(optimizer):
    return isinstance(optimizer.learning_rate, keras.Variable)
