"""Loads the weights of a checkpoint, to predict or to start another training."""

import pathlib
from typing import Any

import keras

from mnist_keras.annotations import StrPath
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.checkpoint.training_state import TrainingState, assign_weights
from mnist_keras.console import terminal
from mnist_keras.errors import UsageError


def load_weights(model: keras.Model, directory: StrPath, *, step: int | None = None) -> int:
    """Load only the weights of a `Checkpoint` into a model, not optimizer, metrics or position.

    Args:
        model: a built model, compiled or not.
        directory: the directory of the checkpoints.
        step: updates done, as in the name ``step-NNNNNNNN``; None: the newest undamaged
            checkpoint.

    Returns:
        The number of updates done.

    Raises:
        UsageError: the checkpoint does not exist.
        DamagedError: the checkpoint of that step is damaged.
        StateMismatchError: the model has other weights; nothing was changed.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> from mnist_keras.callbacks import Checkpoint
    >>> network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model = TapeModel(network)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> directory = tempfile.mkdtemp()
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> _ = model.fit(x, y, batch_size=2, verbose=0, callbacks=[Checkpoint(directory)])
    >>> another = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    >>> load_weights(another, directory)
    4
    >>> np.array_equal(another.predict(x, verbose=0), model.predict(x, verbose=0))
    True
    """
    checkpoints = CheckpointDirectory(pathlib.Path(directory), keep=1)
    stored = checkpoints.newest(terminal.notice) if step is None else _stored(checkpoints, step)
    if stored is None:
        steps = ", ".join(map(str, checkpoints.steps())) or "none"
        raise UsageError(
            f"the checkpoint does not exist. Received: step {step} in {directory}. "
            f"Expected: a step of the directory (found: {steps})."
        )
    state = TrainingState.from_files(stored.files)
    assign_weights(state, model)
    return state.position.step


def _stored(checkpoints: CheckpointDirectory, step: int) -> Any:
    path = checkpoints.directory(step)
    return storage.read_directory(path) if path.is_dir() else None
