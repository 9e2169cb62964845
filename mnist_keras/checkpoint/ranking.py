"""Tells whether lower or higher values of a monitored metric are better."""

from typing import Any, Literal

from mnist_keras import _keras
from mnist_keras.errors import UsageError

MODES = ("auto", "min", "max")


def best_is(monitor: str, model: Any) -> Literal["min", "max"] | None:
    """Whether lower or higher values of a metric are better, as Keras's own callbacks infer it.

    A loss is best at its minimum. Another metric says it itself, as all metrics of Keras do, except
    a bare ``Mean`` or ``Sum``.

    Args:
        monitor: the metric's name in the logs of ``fit``.
        model: a compiled ``keras.Model``.

    Returns:
        "min" or "max"; None if it cannot be inferred.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse", metrics=["r2_score"])
    >>> _ = model.evaluate(np.ones((2, 3)), np.ones((2, 1)), verbose=0)
    >>> best_is("val_loss", model), best_is("val_r2_score", model), best_is("val_other", model)
    ('min', 'max', None)
    """
    name = monitor.removeprefix("val_")
    # Not every subclass has names for its outputs.
    outputs = getattr(model, "output_names", None) or []
    prefixes = ["", "weighted_", *(f"{output}_" for output in outputs)]
    directions = _keras.metric_directions(model)
    for prefix in prefixes:
        direction = directions.get(name.removeprefix(prefix))
        if direction is not None:
            return "max" if direction == "up" else "min"
    return "min" if name == "loss" or name.endswith("_loss") else None


def require_mode(monitor: str, model: Any) -> Literal["min", "max"]:
    """`best_is`, or an error.

    Raises:
        UsageError: it cannot be inferred.
    """
    mode = best_is(monitor, model)
    if mode is None:
        names = ", ".join(sorted(_keras.metric_directions(model)))
        raise UsageError(
            "it cannot be inferred whether lower or higher values of the monitored metric are "
            f'better. Received: monitor={monitor!r} with mode="auto". Expected: mode="min" or '
            f'mode="max", or a metric of the model: {names or "none"}.'
        )
    return mode


def knows_its_metrics(model: Any) -> bool:
    """Whether the compiled metrics exist; those of an unbuilt model are made by its first step."""
    compiled = _keras.compiled_metrics(model)
    return compiled is None or compiled.built
