"""Loads the weights of a stored checkpoint into a model: the newest, the best, or any step's."""

import copy
from typing import Any

from mnist_keras.checkpoint import ranking, storage
from mnist_keras.checkpoint.training_state import TrainingState, assign_weights
from mnist_keras.errors import UsageError


def load(checkpoints, model, *, step=None, notice):
    """Load the weights of a step, or of the newest undamaged checkpoint.

    `mnist_keras.callbacks.Checkpoint.load` describes the results and the errors.

    Args:
        checkpoints: a `mnist_keras.checkpoint.checkpoint_directory.CheckpointDirectory`.
        model: a built ``keras.Model``.
        step: updates done; None: the newest.
        notice: called with a message for each damaged checkpoint that is skipped.
    """
    if step is None:
        stored = checkpoints.require_newest(notice, check=TrainingState.from_files)
    elif checkpoints.directory(step).is_dir():
        stored = storage.read_directory(checkpoints.directory(step))
    else:
        steps = ", ".join(map(str, checkpoints.steps())) or "none"
        raise UsageError(
            f"the checkpoint does not exist. Received: step {step} in {checkpoints.path}. "
            f"Expected: a step of the directory (found: {steps})."
        )
    state = TrainingState.from_files(stored.files)
    assign_weights(state, model)
    return state.position.step


def load_best(checkpoints, model, *, notice):
    """Load the weights of the best checkpoint by the metric that ranks them.

    Without a metric of its own, the directory is ranked by the metric and mode that its newest
    checkpoint was saved with. `mnist_keras.callbacks.Checkpoint.load_best` describes the results
    and the errors; the arguments are those of `load`.
    """
    described = checkpoints.descriptions()
    if not described:
        checkpoints.require_newest(notice)
    checkpoints = _with_ranking(checkpoints, described, model)
    ranked = checkpoints.ranked()
    if not ranked:
        names = sorted({name for it in described.values() for name in it["metrics"]})
        raise UsageError(
            f"no checkpoint in {checkpoints.path} has the metric. Received: "
            f"monitor={checkpoints.monitor!r}. Expected: one of {', '.join(names) or 'none'}."
        )
    return load(checkpoints, model, step=ranked[0][1], notice=notice)


def _with_ranking(checkpoints, described, model):
    """The directory with a metric and a mode: its own, else the stored ones, else the model's."""
    checkpoints = copy.copy(checkpoints)
    stored: dict[str, Any] = next(
        (it for it in reversed(described.values()) if it.get("monitor")), {}
    )
    if checkpoints.monitor is None:
        checkpoints.monitor = stored.get("monitor")
    if checkpoints.monitor is None:
        raise UsageError(
            f"the checkpoints in {checkpoints.path} are not ranked. Received: monitor=None. "
            "Expected: Checkpoint(directory, monitor=...), with the name of a metric."
        )
    if checkpoints.mode is None and checkpoints.monitor == stored.get("monitor"):
        checkpoints.mode = stored["mode"]
    if checkpoints.mode is None:
        checkpoints.mode = ranking.require_mode(checkpoints.monitor, model)
    return checkpoints
