"""Leaves out of a checkpoint what Keras allots for a compiled optimizer that no step applies.

``compile()`` without an optimizer gives the model an RMSprop. A model that trains with optimizers
of its own never applies it. Keras builds it at a moment that differs from process to process, such
as after the first validation.
"""

from typing import Any

import keras

from mnist_keras.checkpoint.model_variables import holder_of
from mnist_keras.checkpoint.step_graph import StepGraph

# What an optimizer has before it is built. A step or a callback may read the learning rate.
_ALWAYS = ("iteration", "learning_rate")
# Of an optimizer that was never applied. A scaled loss that overflows changes only the last two.
_COUNTERS = ("iteration", "step_counter")
_SCALE = "dynamic_scale"


def without_slots(
    members: list[tuple[str, Any]], model: Any, step: StepGraph | None
) -> list[tuple[str, Any]]:
    """The variables of the compiled optimizer that a checkpoint holds, [(path, variable), ...].

    Args:
        members: all of its variables.
        model: the model.
        step: the graph of the training step; None if it is unknown, then all are held.
    """
    if step is None or not _never_applied([(p, lambda v=v: v) for p, v in members], model):
        return members
    in_step = {id(variable) for variable in step.variables}
    replicas = model.distribute_strategy.experimental_local_results
    slots = [v for path, v in members if not _is_always_held(path)]
    if any(id(one) in in_step for v in slots for one in replicas(holder_of(v))):
        return members
    return [(path, v) for path, v in members if _is_always_held(path)]


def agreeing(
    entries: list[dict[str, Any]],
    arrays: dict[str, Any],
    members: list[tuple[str, Any]],
    model: Any,
) -> tuple[list[dict[str, Any]], list[tuple[str, Any]]]:
    """The saved entries and the variables of the optimizer without slots that only one side has.

    Args:
        entries: of the saved variables of the compiled optimizer, in their order.
        arrays: {key: array} of the saved state.
        members: the model's own, [(path, variable), ...].
        model: the model.

    Returns:
        (entries, members), each reduced if the saved optimizer was never applied.
    """
    saved = [(entry["path"], lambda key=entry["key"]: arrays[key]) for entry in entries]
    if len(entries) == len(members) or not _never_applied(saved, model):
        return entries, members
    return (
        [entry for entry in entries if _is_always_held(entry["path"])],
        [(path, v) for path, v in members if _is_always_held(path)],
    )


def _never_applied(values, model):
    """Whether no step has applied an optimizer of these variables, [(path, get its value), ...]."""
    named = [(path.rpartition("/")[2], value) for path, value in values]
    scale = getattr(getattr(model, "optimizer", None), "initial_scale", None)
    return any(name == "iteration" for name, _ in named) and all(
        float(keras.ops.convert_to_numpy(value())) == (scale if name == _SCALE else 0)
        for name, value in named
        if name in (*_COUNTERS, _SCALE)
    )


def _is_always_held(path):
    return path.rpartition("/")[2] in _ALWAYS
