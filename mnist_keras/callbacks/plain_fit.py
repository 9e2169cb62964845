"""Resumes the ``fit`` of a ``keras.Model`` on JAX or PyTorch, where there is no `TapeModel`."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from mnist_keras import _keras
from mnist_keras.callbacks.base import Fit, StepCallback, followers, furthest_position, priority
from mnist_keras.checkpoint import backends, random_state
from mnist_keras.checkpoint.data_identity import data_identity
from mnist_keras.checkpoint.data_position import StreamPosition
from mnist_keras.checkpoint.training_state import Position

# Their order comes from the generators of the process or of the loader, which are saved.
_EXACT_KINDS = ("arrays", "torch")


class PlainFit(Fit):
    """What a `Checkpoint` knows of the running ``fit`` of a plain ``keras.Model``.

    The hooks of Keras alone cannot resume in the middle of an epoch. Meanwhile the batches that
    were trained on are drawn again by a function in place of the model's train function, and no
    callback is called.

    Args:
        model: the model.
        callbacks: Keras's list of the callbacks of this fit.
        epochs: Keras's iterator over the epochs, a `mnist_keras._keras.EpochIterator`.
    """

    def __init__(
        self, model: Any, callbacks: keras.callbacks.CallbackList, epochs: _keras.EpochIterator
    ) -> None:
        self._position = PlainPosition(epochs)
        super().__init__(data=self._position)
        self._model, self._list = model, callbacks
        self._watcher: _Watcher | None = None
        self._present = callbacks.callbacks
        # A new list: Keras is going through the present one.
        callbacks.callbacks = sorted(callbacks.callbacks, key=priority)
        self.callbacks: Sequence[keras.callbacks.Callback] = callbacks.callbacks
        for callback in followers(self.callbacks):
            callback.fit = self
        furthest_position(self.callbacks)

    @classmethod
    def running(cls, callback: StepCallback) -> "PlainFit | None":
        """The fit that calls this callback; None if Keras has changed how it does that."""
        called = _keras.calling_list()
        if isinstance(callback.fit, cls) and callback.fit._list is called:
            return callback.fit  # Another checkpoint of the same fit came first.
        epochs = None if called is None else _keras.running_epochs()
        if called is None or epochs is None:
            return None
        return cls(callback.model, called, epochs)

    def call_last(self, begin: Callable[[], None]) -> None:
        """Call a function after the ``on_train_begin`` of all callbacks, which reset their states.

        Keras goes through a list, and so also calls what is added to its end meanwhile.
        """
        self._present.append(_Last(begin))

    def begin_at(self, position: Position) -> None:
        """Let Keras begin with the epoch of a restored state."""
        self.steps_skipped = position.step_in_epoch
        _keras.set_initial_epoch(self._model, position.epoch)
        for callback in followers(self.callbacks):
            callback.step = position.step

    def begin_epoch(self) -> None:
        """Call after all callbacks have begun an epoch."""
        _keras.set_initial_epoch(self._model, None)
        self._position.begin_epoch()
        train = self._model.train_function
        train = train.function if isinstance(train, _Watcher) else train  # Of a failed fit.
        self._watcher = _Watcher(train, self._position, skipped=self.steps_skipped)
        self._model.train_function = self._watcher
        if self.steps_skipped:
            self._list.callbacks = [_Waker(self.steps_skipped, self._wake)]

    def end_epoch(self) -> None:
        """Call when an epoch or the fit has ended."""
        self.steps_skipped = 0
        if self._watcher is not None and self._model.train_function is self._watcher:
            self._model.train_function = self._watcher.function
        self._watcher = None

    def close(self) -> None:
        """Forget the fit."""
        self.end_epoch()
        _keras.set_initial_epoch(self._model, None)
        for callback in followers(self.callbacks):
            callback.fit = Fit()

    def _wake(self):
        self._list.callbacks = list(self.callbacks)


class PlainPosition(StreamPosition):
    """The place in the data, as far as the states of random generators determine it.

    Args:
        epochs: Keras's iterator over the epochs.
    """

    def __init__(self, epochs: _keras.EpochIterator) -> None:
        self.kind = epochs.kind
        self._owners = [] if epochs.source is None else [epochs.source]
        self._epoch_began: Any = None
        self._resuming: dict[str, Any] | None = None
        self._report: Callable[[str], None] = lambda reason: None
        self._batch: Any = None
        self.identity = data_identity(epochs)

    def obstacles(self) -> list[str]:
        if self.kind in _EXACT_KINDS:
            return []
        return [
            f"the place in data of the kind {self.kind} is not saved with KERAS_BACKEND="
            f"{backends.name()}; give fit arrays, or train a TapeModel on TensorFlow"
        ]

    def report_to(self, report: Callable[[str], None]) -> None:
        self._report = report

    def capture(self) -> dict[str, Any]:
        return {
            "now": random_state.capture(*self._owners),
            "epoch_began": self._epoch_began,
            "batch": None if self._batch is None else fingerprint(self._batch),
        }

    def resume(self, place: dict[str, Any], *, epoch: int, step_in_epoch: int) -> None:
        random_state.restore(place["now"], *self._owners)
        self._resuming = place if step_in_epoch else None

    def begin_epoch(self) -> None:
        """Set the generators back to the beginning of an interrupted epoch, or note their states.

        The data draw from them after this.
        """
        if self._resuming is None:
            self._epoch_began = random_state.capture(*self._owners)
        else:
            self._epoch_began = self._resuming["epoch_began"]
            random_state.restore(self._epoch_began, *self._owners)
        self._batch = None

    def note_batch(self, batch: Any) -> None:
        """Note the batch that the next step trains on."""
        self._batch = batch

    def end_skipping(self, batch: Any, *, steps: int) -> None:
        """Restore the generators after the last batch that was drawn again, and compare it."""
        place, self._resuming = self._resuming or {}, None
        if place.get("batch") not in (None, fingerprint(batch)):
            self._report(
                f"batch {steps - 1} of the epoch has changed since the checkpoint was written; "
                "resume with the same data, in the same order"
            )
        if "now" in place:
            random_state.restore(place["now"], *self._owners)


class _Watcher:
    """A train function that sees each batch; of the first ones it only draws the batch."""

    def __init__(self, function, position, *, skipped):
        self.function = function
        self._position = position
        self._skipped = skipped
        self._done = 0

    def __call__(self, *arguments):
        is_jax = backends.name() == "jax"
        batch = next(arguments[1]) if is_jax else arguments[0][0]
        self._done += 1
        if self._done > self._skipped:
            self._position.note_batch(batch)
            if is_jax:
                return self.function(arguments[0], iter([batch]))
            return self.function(*arguments)
        if self._done == self._skipped:
            self._position.end_skipping(batch, steps=self._skipped)
        return ({}, arguments[0]) if is_jax else {}


class _Last(keras.callbacks.Callback):
    """Calls a function when the training begins."""

    def __init__(self, begin):
        super().__init__()
        self._begin = begin

    def on_train_begin(self, logs=None):
        self._begin()


class _Waker(keras.callbacks.Callback):
    """Stands in for all callbacks while batches are drawn again."""

    def __init__(self, steps, wake):
        super().__init__()
        self._steps, self._wake = steps, wake

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self._steps:
            self._wake()


def fingerprint(batch: Any) -> int:
    """A checksum of all numbers of a batch."""
    checksum = 0
    for part in keras.tree.flatten(batch):
        if part is not None:
            checksum = zlib.crc32(backends.host_array(part).tobytes(), checksum)
    return checksum
