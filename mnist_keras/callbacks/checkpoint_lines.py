"""The lines that a `Checkpoint` prints for the user."""

import pathlib
from collections.abc import Iterable

# A reason why a resume is not exact.
NOTHING_SAVED = (
    "the fit before was interrupted before its first checkpoint, so this one continues with the "
    "weights that the model has; build the model again to begin anew"
)


def of_a_later_fit(*, saved: int, begins_at: int) -> str:
    """Why a program of several fits with one directory does not resume exactly."""
    return (
        f"the newest checkpoint is of a fit that began after {saved} steps, and this fit begins "
        f"after {begins_at}; call fit once, or give each fit of the program its own directory"
    )


def resumed(*, step: int, path: pathlib.Path) -> str:
    """The training continues."""
    return f"resumed after {step} steps, from {path}"


def started_from(path: pathlib.Path) -> str:
    """The training begins with the state of another one."""
    return f"begins at epoch 0, with the weights and the optimizer's state from {path}"


def all_epochs_done(*, epochs: int, done: int) -> str:
    """A resume finds all epochs done."""
    return (
        f"all epochs are done: nothing is trained. Received: epochs={epochs}, {done} done. "
        "Expected: more epochs, or another directory to train anew."
    )


def stopped_early(*, epochs: int, done: int, directory: pathlib.Path) -> str:
    """A resume finds that the training was ended by ``stop_training``."""
    return (
        "the training was stopped early: nothing is trained. Received: stop_training after "
        f"{done} of {epochs} epochs. Expected: an EarlyStopping with more patience, which "
        "continues, or Checkpoint(another directory, start_from=...) to train more from "
        f"{directory}."
    )


def learning_rate(*, attribute: str, restored: float, new: float, takes_new: bool) -> str:
    """The program has changed its learning rate since the training began."""
    of = "" if attribute == "optimizer" else f" of {attribute}"
    if takes_new:
        return f"learning rate{of}: the script's {new:g} is used, not the checkpoint's {restored:g}"
    return (
        f"learning rate{of}: the checkpoint's {restored:g} is used, not the script's {new:g}; "
        "Checkpoint(use_new_learning_rate=True) uses the script's"
    )


def not_ranked(*, epoch: int, monitor: str, names: Iterable[str]) -> str:
    """An epoch has not the monitored metric."""
    return (
        f"the checkpoint of epoch {epoch} is not ranked: there is no such number. Received: "
        f"monitor={monitor!r}. Expected: one of {', '.join(sorted(names)) or 'none'}."
    )


def kept(directory: pathlib.Path, *, can_resume: bool) -> str:
    """A training begins anew where there are checkpoints."""
    line = (
        f"the checkpoints of an earlier training are kept in {directory}: this training does not "
        "continue it."
    )
    return line if can_resume else f"{line} A TapeModel would."


def single_steps(*, steps_per_execution: int, backend: str) -> str:
    """Why a model of another backend than TensorFlow cannot resume."""
    return (
        f"with steps_per_execution={steps_per_execution} and KERAS_BACKEND={backend} a training "
        "begins anew; use steps_per_execution=1"
    )


def not_finite(step: int) -> str:
    """A state is not written."""
    return f"no checkpoint is saved at step {step}: a weight is not finite."


def write_failed(reason: str) -> str:
    """A state could not be written."""
    return f"a checkpoint could not be written ({reason}); trying again later."
