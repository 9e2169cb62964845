"""Tells whether a training that was ended by ``stop_training`` stays ended at a resume."""

from collections.abc import Sequence
from typing import Any

import keras

from mnist_keras.checkpoint import callback_state
from mnist_keras.checkpoint.training_state import TrainingState


def still_stops(state: TrainingState, callbacks: Sequence[Any]) -> bool:
    """Whether the training that saved a state ended there, and would also end there now.

    ``keras.callbacks.EarlyStopping`` is asked again: with more patience than before the training
    continues. What other callbacks decided stays.

    Args:
        state: the saved state.
        callbacks: the callbacks of the present fit; their states are not restored yet.
    """
    if not state.description.get("stopped"):
        return False
    stoppers = _stoppers(state, callbacks)
    return not stoppers or any(saved["wait"] >= it.patience for it, saved in stoppers)


def forget(state: TrainingState, callbacks: Sequence[Any]) -> None:
    """Let the callbacks that ended a training know that it continues; after they are restored."""
    for callback, _ in _stoppers(state, callbacks):
        callback.stopped_epoch = 0


def _stoppers(state, callbacks):
    """[(callback, its saved state), ...] of each EarlyStopping that ended the training."""
    pairs = callback_state.pairs(state.description["callbacks"], callbacks)
    return [
        (callback, saved)
        for callback, saved in pairs
        if isinstance(callback, keras.callbacks.EarlyStopping)
        and {"stopped_epoch", "wait"} <= saved.keys()  # A subclass may save something else.
        and saved["stopped_epoch"] + 1 == state.position.epoch > 1
    ]
