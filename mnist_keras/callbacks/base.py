"""The callback protocol: what a callback may request from ``fit``, and what ``fit`` tells it.

``StepCallback`` is the protocol as a class. Every member has a default, so a callback overrides
only what it needs:

========================  =============  =====================================================
member                    default        meaning
========================  =============  =====================================================
priority                  0              Callbacks of lower priority are called first.
chief_only                False          Only the first of several workers calls it.
breaks_execution_at       never          At which steps an execution of a `TapeModel` ends.
needs_gradient_norm       never          For which steps the gradient norm is computed.
local_request             0              What this process requests, as a signal number.
agreed_request            --             The largest request of all workers; do not override.
resume_position           None           Where the training resumes, if the callback can.
accept_position           nothing        The training resumes there; the data is not open yet.
discard_position          nothing        Another callback resumes the training.
state_dict                not defined    The callback's part of a checkpoint: dicts with string
                                         keys, lists, numbers, strings, None and arrays.
load_state_dict           not defined    Restores what ``state_dict`` returned; define both.
flush                     nothing        Write the buffers; called before a checkpoint.
on_checkpoint_saved       nothing        A checkpoint is on the disk.
saves_at                  never          After which steps it saves the training state.
save_now                  nothing        Save the training state before an interruption.
seconds_since_save        None           Age of the last checkpoint.
close                     nothing        Release open resources, also after an exception.
========================  =============  =====================================================

Keras's own callbacks work beside these and get the defaults.
"""

import dataclasses
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from typing_extensions import Self

from mnist_keras import _keras
from mnist_keras.annotations import Logs
from mnist_keras.callbacks.keras_bar import share_the_terminal
from mnist_keras.checkpoint.data_position import StreamPosition
from mnist_keras.checkpoint.step_graph import StepGraph
from mnist_keras.checkpoint.training_state import Position
from mnist_keras.data.stream import BatchStream
from mnist_keras.errors import UsageError

# Callbacks that were given to a fit, by model. One fit gives all of them the same ``params``.
_CALLBACKS: "weakref.WeakKeyDictionary[keras.Model, weakref.WeakSet[StepCallback]]" = (
    weakref.WeakKeyDictionary()
)


@dataclasses.dataclass
class Fit:
    """What the running ``fit`` tells its callbacks; the defaults hold for a plain ``keras.Model``.

    Attributes:
        counts_steps: whether the model is a `TapeModel`; it records each step of an execution.
        stream: the `mnist_keras.data.stream.BatchStream` that the model trains on, or None.
        steps_skipped: steps of the current epoch that were done before an interruption.
        data: a `mnist_keras.checkpoint.data_position.StreamPosition`, or None.
        step_graph: the traced training step, a `mnist_keras.checkpoint.step_graph.StepGraph`, or
            None.
        last_logs: the logs of the last step, {name: scalar}; also of one before an interruption.
        batch_spec: the ``tf.TensorSpec`` of a training batch, (x, y) or (x, y, sample_weight); None
            where it is unknown.
        resumes: whether it continues from a checkpoint, or would if there was one.

    Example:

    >>> Fit().counts_steps
    False
    """

    counts_steps: bool = False
    stream: BatchStream | None = None
    steps_skipped: int = 0
    data: StreamPosition | None = None
    step_graph: StepGraph | None = None
    last_logs: dict[str, Any] = dataclasses.field(default_factory=dict)
    batch_spec: Any = None
    resumes: bool = False

    @property
    def place(self) -> dict[str, Any] | None:
        """The place in the data with the logs of the last step, as a checkpoint holds them."""
        return None if self.data is None else {**self.data.capture(), "logs": self.last_logs}

    @property
    def data_identity(self) -> dict[str, Any] | None:
        """What must be equal in the data of a resumed training, {name: value}, or None."""
        source = self.stream if self.stream is not None else self.data
        return None if source is None else source.identity

    def obstacles_of_steps(self) -> list[str]:
        """Why a resume may not be exact, as far as only the steps that were run show it."""
        return []

    def agreed_request(self, callback: "StepCallback") -> int:
        """The largest ``local_request()`` of this callback on any worker."""
        return callback.local_request()


class StepCallback(keras.callbacks.Callback):
    """A callback that knows the true step. The module's table lists the members to override.

    ``fit`` of a `TapeModel` calls ``close`` at its end, also after an exception. Keras's own
    ``fit`` calls only ``on_train_end``, and only after a normal end; use ``with`` there.

    Attributes:
        step: batches trained on since the first fit, including those before an interruption.
        epoch: the epoch of the next batch, from 0.
        step_in_epoch: batches trained on in that epoch.
        fit: a `Fit`.
        has_another_model: whether the fit before trained another model with this callback.

    Example: a callback that sees the model after every 50th step. The number of steps per
    execution does not matter.

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> class EveryFiftieth(StepCallback):
    ...     def breaks_execution_at(self, step):
    ...         return step % 50 == 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         super().on_train_batch_end(batch, logs)
    ...         if self.breaks_execution_at(self.step):
    ...             print(self.position)
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse", steps_per_execution=80)
    >>> x, y = np.ones((240, 3)), np.ones((240, 1))
    >>> history = model.fit(x, y, batch_size=2, verbose=0, callbacks=[EveryFiftieth()])
    Position(step=50, epoch=0, step_in_epoch=50)
    Position(step=100, epoch=0, step_in_epoch=100)
    """

    priority: int = 0
    chief_only: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.epoch = 0
        self.step_in_epoch = 0
        self.fit = Fit()
        self.has_another_model = False
        self._trained: int | None = None  # The id of the model of the last fit.
        self._begin = 0

    def breaks_execution_at(self, step: int) -> bool:
        """Whether an execution must end when ``step`` updates are done.

        The callback's ``on_train_batch_end`` then sees the model after exactly that many updates.
        """
        return False

    def needs_gradient_norm(self, step: int) -> bool:
        """Whether to compute the gradient norm of step ``step``, counted from 0."""
        return False

    def local_request(self) -> int:
        """What this process requests: an integer that other workers cannot know, 0 for nothing."""
        return 0

    def agreed_request(self) -> int:
        """The largest `local_request` of all workers; the same value on every worker."""
        return self.fit.agreed_request(self)

    def resume_position(self, callbacks: Sequence[keras.callbacks.Callback]) -> Position | None:
        """Where the training resumes; None if this callback cannot resume it.

        Args:
            callbacks: all callbacks of the fit.
        """
        return None

    def accept_position(self) -> None:
        """Resume at ``resume_position``; called before ``fit`` opens the data."""

    def discard_position(self) -> None:
        """Do not resume: another callback of this fit has a later position."""

    def flush(self) -> None:
        """Write the buffers to the disk; a checkpoint calls this from another thread."""

    def on_checkpoint_saved(self, step: int) -> None:
        """Called from another thread when the checkpoint of ``step`` updates is on the disk."""

    def saves_at(self, step: int) -> bool:
        """Whether this callback saves the training state when ``step`` updates are done."""
        return False

    def save_now(self, position: Position) -> None:
        """Save the training state at a batch boundary and wait until it is on the disk."""

    @property
    def seconds_since_save(self) -> float | None:
        """Age in seconds of the newest state that this callback has saved, or None."""
        return None

    def close(self) -> None:
        """Release open resources; may be called twice."""

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if model is not None:
            _CALLBACKS.setdefault(model, weakref.WeakSet()).add(self)

    def on_train_begin(self, logs: Logs = None) -> None:
        share_the_terminal(_keras.calling_list())
        self.has_another_model = self._trained not in (None, id(self.model))
        self._trained = id(self.model)
        self._take_models_step()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._take_models_step()
        self.epoch = epoch
        self.step_in_epoch = 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._begin = batch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.step += batch + 1 - self._begin
        self.step_in_epoch = batch + 1

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch, self.step_in_epoch = epoch + 1, 0

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    @property
    def peers(self) -> list["StepCallback"]:
        """All `StepCallback` objects of the same fit, including this one."""
        known = _CALLBACKS.get(self.model, ()) if self.model is not None else ()
        return [peer for peer in known if peer.params is self.params]

    @property
    def stream(self) -> BatchStream | None:
        """The `mnist_keras.data.stream.BatchStream` that a `TapeModel` trains on, or None."""
        return self.fit.stream

    @property
    def position(self) -> Position:
        """Where the training is, a `mnist_keras.checkpoint.training_state.Position`."""
        return Position(self.step, self.epoch, self.step_in_epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take_models_step(self):
        if self.fit.counts_steps:
            self.step = self.model.steps_trained


def followers(callbacks: Iterable[keras.callbacks.Callback]) -> list[StepCallback]:
    """The callbacks that follow the protocol; others are treated by its defaults."""
    return [callback for callback in callbacks if isinstance(callback, StepCallback)]


def priority(callback: keras.callbacks.Callback) -> int:
    """The priority of any callback; a key to sort them by."""
    return callback.priority if isinstance(callback, StepCallback) else StepCallback.priority


def furthest_position(
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[StepCallback, Position] | None:
    """Ask all callbacks of a fit where it resumes, and let the furthest position win.

    Returns:
        The callback with that position, and the position; None without any. All others have
        discarded theirs.
    """
    found = []
    for callback in followers(callbacks):
        position = callback.resume_position(callbacks)
        if position is not None:
            found.append((callback, position))
    furthest = max(found, key=lambda one: one[1].step, default=None)
    for callback, _ in found:
        if furthest is not None and callback is not furthest[0]:
            callback.discard_position()
    return furthest


def scalars(logs: Logs) -> dict[str, float]:
    """{name: float} of the logs that are single numbers; a metric may also return a vector."""
    return {name: float(value) for name, value in (logs or {}).items() if np.size(value) == 1}


def require_single_steps(callback: StepCallback) -> None:
    """Refuse a plain ``keras.Model`` that runs several steps per execution.

    Raises:
        UsageError: the callback's model is such a model.
    """
    if not callback.fit.counts_steps and callback.model.steps_per_execution != 1:
        raise UsageError(
            "a plain keras.Model does not report each step of an execution. "
            f"Received: steps_per_execution={callback.model.steps_per_execution}. "
            "Expected: steps_per_execution=1, or a TapeModel."
        )
