"""Ends training at the first loss that is not finite, before a good state is overwritten."""

import math

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.checkpoint.model_variables import not_finite
from mnist_keras.errors import MnistKerasError


class DivergedError(MnistKerasError):
    """The loss of a step, or a weight after it, was not finite.

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
    """Raises `DivergedError` from ``fit`` at the first step whose loss is not finite.

    An execution of a `TapeModel` ends early, at that step, so the useless weights are not trained
    further. A `Checkpoint` of the same fit keeps its earlier checkpoints: a state that is not
    finite is never written. Weights and optimizer variables are checked too, at the end of each
    epoch and before each checkpoint by ``every_steps``, as the loss need not depend on them. Put
    this callback after a `StepLogger`, which then still logs the step.

    Raises:
        DivergedError: from ``fit``; names the step, the loss before it and the gradient norm.

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
        self._loss_before = math.nan

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        records = self.model.step_records if self.fit.counts_steps else None
        losses = [(logs or {}).get("loss", 0.0)] if records is None else records.losses
        if losses is None or math.isfinite(losses[-1]):
            self._loss_before = self._loss_before if losses is None else losses[-1]
            if any(peer.saves_at(self.step) for peer in self.peers):
                self._require_finite_weights()
            return
        before = losses[-2] if len(losses) > 1 else self._loss_before
        norm = None if records is None else records.at(self.step - 1).get("gradient_norm")
        step, step_in_epoch = self.step - 1, self.step_in_epoch - 1
        raise DivergedError(
            f"the loss is not finite at step {step} (epoch {self.epoch}, step {step_in_epoch}). "
            f"Received: {losses[-1]}{'' if norm is None else f', gradient norm {norm}'}"
            f"{'' if math.isnan(before) else f'; {before} at the step before'}. "
            "Expected: a finite loss.",
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
