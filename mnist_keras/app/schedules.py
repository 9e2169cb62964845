"""The learning rate at each training step, made of Keras's schedules."""

from keras.optimizers import schedules

# The defaults of PyTorch's OneCycleLR.
_BEGIN = 1 / 25
_END = _BEGIN / 1e4
_ONE_CYCLE_WARMUP = 0.3


def build(
    name: str, *, learning_rate: float, steps: int, warmup_steps: int | None = None
) -> float | schedules.LearningRateSchedule:
    """A learning rate: a constant, or a schedule over the steps.

    Args:
        name: "constant"; "cosine": from ``learning_rate`` down to 0 along half a cosine; or
            "one_cycle": a long warm-up, then half a cosine down to 1/250,000 of
            ``learning_rate``.
        learning_rate: the largest value.
        steps: number of training steps.
        warmup_steps: number of steps, less than ``steps``, of a linear rise from 1/25 of
            ``learning_rate``. None: 30 % of ``steps`` for "one_cycle", 0 for the others.

    Source: Smith & Topin, Super-Convergence, 2018, https://arxiv.org/abs/1708.07120.

    Example:

    >>> schedule = build("one_cycle", learning_rate=1.0, steps=100)
    >>> [round(float(schedule(step)), 3) for step in (0, 15, 30, 65, 100)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if warmup_steps is None:
        warmup_steps = round(_ONE_CYCLE_WARMUP * steps) if name == "one_cycle" else 0
    begin = _BEGIN * learning_rate
    if name == "constant":
        if not warmup_steps:
            return learning_rate
        return schedules.PolynomialDecay(begin, warmup_steps, end_learning_rate=learning_rate)
    end = _END if name == "one_cycle" else 0.0
    if not warmup_steps:
        return schedules.CosineDecay(learning_rate, steps, alpha=end)
    return schedules.CosineDecay(
        begin,
        decay_steps=steps - warmup_steps,
        alpha=end,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
