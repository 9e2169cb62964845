"""What the callbacks that count steps have in common."""

import keras
import numpy as np
from typing_extensions import Self

from mnist_keras.annotations import Logs
from mnist_keras.checkpoint.training_state import Position
from mnist_keras.data.stream import BatchStream
from mnist_keras.errors import UsageError


class StepCallback(keras.callbacks.Callback):
    """Knows the true step, and can be closed.

    Used in a ``with`` statement, or by ``fit`` of a `TapeModel`, it is closed after an exception
    too; Keras's own ``fit`` calls ``on_train_end`` after a clean end alone.

    Attributes:
        step: batches trained on over the whole run, before an interruption too.
        epoch: the epoch of the next batch, from 0.
        step_in_epoch: batches of that epoch trained on.

    Example, of a callback that makes an execution of a `TapeModel` end after every third step:

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> class EveryThird(StepCallback):
    ...     def stops_at(self, step):
    ...         return step % 3 == 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         super().on_train_batch_end(batch, logs)
    ...         print(self.position)
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse", steps_per_execution=100)
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> history = model.fit(x, y, batch_size=2, verbose=0, callbacks=[EveryThird()])
    Position(step=3, epoch=0, step_in_epoch=3)
    Position(step=4, epoch=0, step_in_epoch=4)
    """

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.epoch = 0
        self.step_in_epoch = 0
        self._begin = 0

    def on_train_begin(self, logs: Logs = None) -> None:
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

    def wish(self) -> int:
        """What this process asks for by itself, a whole number; of some callbacks alone."""
        return 0

    def granted(self) -> int:
        """The largest `wish` of all workers that train the model together, at this boundary."""
        fit_callbacks = getattr(self.model, "fit_callbacks", None)
        return self.wish() if fit_callbacks is None else fit_callbacks.granted(self)

    @property
    def stream(self) -> BatchStream | None:
        """The `mnist_keras.data.stream.BatchStream` a `TapeModel` trains on, or None."""
        return getattr(getattr(self.model, "fit_callbacks", None), "stream", None)

    @property
    def position(self) -> Position:
        """Where the training is, a `mnist_keras.checkpoint.training_state.Position`."""
        return Position(self.step, self.epoch, self.step_in_epoch)

    def close(self) -> None:
        """Give back what is held open; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take_models_step(self):
        # A TapeModel counts its steps itself, and goes on counting after it was restored.
        self.step = getattr(self.model, "steps_trained", self.step)


def scalars(logs: Logs) -> dict[str, float]:
    """{name: float} of the logs that are single numbers; a metric may give a vector as well."""
    return {name: float(value) for name, value in (logs or {}).items() if np.size(value) == 1}


def require_single_steps(model: keras.Model) -> None:
    """Refuse a plain ``keras.Model`` that runs several steps per execution.

    Raises:
        UsageError: it does.
    """
    if not hasattr(model, "step_records") and model.steps_per_execution != 1:
        raise UsageError(
            "a plain keras.Model hides the single steps of an execution. "
            f"Received: steps_per_execution={model.steps_per_execution}. "
            "Expected: steps_per_execution=1, or a TapeModel."
        )
