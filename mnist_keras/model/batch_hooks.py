"""Which callbacks must be called for each batch."""

from collections.abc import Iterable
from typing import Any, Literal

import keras

from mnist_keras.callbacks.base import StepCallback

_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
}
# Their hooks do nothing with save_freq="epoch".
_SAVERS = tuple(
    getattr(keras.callbacks, name)
    for name in ("ModelCheckpoint", "BackupAndRestore", "OrbaxCheckpoint")
    if hasattr(keras.callbacks, name)
)


def see_batches(callbacks: Iterable[Any], phase: Literal["train", "test"]) -> bool:
    """Whether any of the callbacks has a hook that Keras calls for each batch.

    A `StepCallback` says by its protocol at which steps it is called, and a progress bar may be
    called at any step. They do not count.

    Args:
        callbacks: Keras callbacks.
        phase: "train" or "test".

    Example:

    >>> import keras
    >>> see_batches([keras.callbacks.EarlyStopping()], "train")
    False
    >>> see_batches([keras.callbacks.LambdaCallback(on_train_batch_end=print)], "train")
    True
    """
    return any(_is_overridden(callback, name) for callback in callbacks for name in _HOOKS[phase])


def _is_overridden(callback, name):
    if isinstance(callback, StepCallback | keras.callbacks.ProgbarLogger):
        return False
    hook = getattr(callback, name, None)
    if hook is None:
        return False
    function = getattr(hook, "__func__", hook)
    saves_epochs = getattr(callback, "save_freq", None) == "epoch"
    if saves_epochs and any(function is getattr(saver, name) for saver in _SAVERS):
        return False
    return function is not getattr(keras.callbacks.Callback, name)
