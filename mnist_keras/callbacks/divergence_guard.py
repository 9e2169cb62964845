"""Ends training at the first loss that is not finite, before a good state is overwritten."""

import math

import numpy as np

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback, scalars
from mnist_keras.callbacks.step_observer import is_loss
from mnist_keras.checkpoint.model_variables import not_finite
from mnist_keras.errors import MnistKerasError


class DivergedError(MnistKerasError):
    """A loss of a step, or a weight after it, was not finite.

    Attributes:
        step: the step's number in the run, from 0.

    Example:

    >>> DivergedError("the loss is not finite at step 7.", 7).step
    7
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class DivergenceGuard(StepCallback):
    """Raises `DivergedError` from ``fit`` at the first step with a loss that is not finite.

    If a step has several losses, each of them is checked: those that a `TapeModel` records, or the
    logs of a plain ``keras.Model`` whose name ends with "loss". An execution of a `TapeModel` ends
    early, at that step, so the useless weights are not trained further. A `Checkpoint` of the same
    fit keeps its earlier checkpoints: a state that is not finite is never written. Weights and
    optimizer variables are checked too, at the end of each epoch and before each checkpoint by
    ``every_steps``, as the loss need not depend on them. Put this callback after a `StepLogger`,
    which then still logs the step.

    Raises:
        DivergedError: from ``fit``; names the step, the losses that are not finite, their values
            before it and the gradient norm.

    Example:

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")]))
    >>> model.compile(optimizer=keras.optimizers.SGD(1e30), loss="mse", steps_per_execution=100)
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> model.fit(x, y, batch_size=2, verbose=0, callbacks=[DivergenceGuard()])
    Traceback (most recent call last):
    mnist_keras.callbacks.divergence_guard.DivergedError: the loss is not finite at step 1 (epoch \
0, step 1). Received: inf, gradient norm inf; 4.0 at the step before. Expected: a finite loss.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        records = self.model.step_records if self.fit.counts_steps else None
        step = self.step - 1
        if records is None:
            values, before = scalars(logs), self._before
            losses = {
                name: float(np.mean(value)) for name, value in (logs or {}).items() if is_loss(name)
            }
        else:
            values, losses = records.at(step), records.losses_at(step)
            before = records.losses_at(step - 1) if step > records.first_step else self._before
        broken = [name for name, loss in losses.items() if not math.isfinite(loss)]
        self._before = losses
        if not broken:
            if any(peer.saves_at(self.step) for peer in self.peers):
                self._require_finite_weights()
            return
        norms = [f"{tag.replace('_', ' ')} {values[tag]}" for tag in values if _is_norm(tag)]
        step_in_epoch = self.step_in_epoch - 1
        raise DivergedError(
            f"{_listed(broken)} not finite at step {step} (epoch {self.epoch}, step "
            f"{step_in_epoch}). Received: {', '.join([_values(broken, losses), *norms])}"
            f"{_said_before(broken, before, are_logs=records is None)}. Expected: a finite loss.",
            step,
        )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._require_finite_weights()

    def _require_finite_weights(self):
        """Check the weights that the loss does not depend on."""
        path = not_finite(self.model)
        if path is not None:
            raise DivergedError(
                f"a weight is not finite after step {self.step - 1}. Received: {path}. "
                "Expected: finite weights and optimizer variables.",
                self.step - 1,
            )


def _is_norm(tag):
    return tag.partition("/")[0] == "gradient_norm"


def _listed(names):
    listed = " and ".join("the loss" if name == "loss" else name for name in names)
    return f"{listed} {'is' if len(names) == 1 else 'are'}"


def _values(names, values):
    """The values of some losses; a single one needs no name."""
    if len(names) == 1:
        return f"{values[names[0]]}"
    return ", ".join(f"{name} {values[name]}" for name in names)


def _said_before(names, before, *, are_logs):
    """The values one step earlier; Keras's logs are usually means over the epoch so far."""
    known = [name for name in names if not math.isnan(before.get(name, math.nan))]
    where = "in the logs of the step before" if are_logs else "at the step before"
    return f"; {_values(known, before)} {where}" if known else ""
