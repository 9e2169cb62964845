"""The learning rate's course over a whole training."""

import keras


def build(name, *, learning_rate, steps):
    """A learning rate, constant or as a schedule of the number of updates done.

    Args:
        name: "constant", or "cosine": from ``learning_rate`` down to 0 along half a cosine.
        learning_rate: its largest value.
        steps: updates in the whole training.

    Example:

    >>> schedule = build("cosine", learning_rate=1.0, steps=100)
    >>> [round(float(schedule(step)), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    """
    if name == "constant":
        return learning_rate
    return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
