"""Suggests a learning rate: the range test, which leaves the model as it was."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
from typing_extensions import Self

from mnist_keras import _keras
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks import range_test
from mnist_keras.callbacks.base import StepCallback, require_single_steps
from mnist_keras.callbacks.steered_rate import SteeredRate
from mnist_keras.callbacks.step_observer import EPOCH_MEAN, is_loss
from mnist_keras.callbacks.tensorboard.loss_probe import LossProbe
from mnist_keras.checkpoint import backends, model_variables, random_state
from mnist_keras.checkpoint.snapshot import Snapshot
from mnist_keras.console import terminal
from mnist_keras.distributed.workers import workers_of
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path

# What a callback overrides that saves the model or writes files, see StepCallback.
_KEEPING = ("flush", "save_now", "saves_at")
_LEAST_STEPS = 20


class LearningRateFinder(StepCallback):
    """Raises the learning rate from step to step until the loss diverges, and suggests a rate.

    The rate rises by the same factor in each step. The sweep ends after ``steps`` steps, at a loss
    that is not finite, or when the moving average of the loss exceeds 4 times its smallest value.
    It then ends the ``fit`` and puts everything back to the bit: weights, optimizer, metrics,
    learning rate or schedule, seed generators, ``steps_trained``, and the random generators of
    Python, NumPy, TensorFlow and Keras. The next ``fit`` gives what it would give without the
    sweep. Only data that keep a state of their own do not return to their beginning, such as a
    generator or ``shuffle`` of tf.data; make them anew. The suggestion is a tenth of the rate at
    which the smoothed loss is lowest; `mnist_keras.callbacks.range_test.suggest` says why.

    Give ``fit`` as many epochs as the sweep needs: it has ``steps`` steps. The steps per execution
    of a `TapeModel` do not matter. Keras's own ``fit`` does not close its callbacks after an
    exception; ``with LearningRateFinder() as finder:`` around it puts everything back then too.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2015,
    https://arxiv.org/abs/1506.01186, section 3.3; with a geometric sweep as in fastai's
    ``lr_find`` and Lightning's ``Tuner.lr_find``.

    Args:
        logdir: the run's directory. ``logdir/sweeps/learning_rate`` gets the curves ``loss``,
            ``smoothed_loss`` and ``learning_rate``, and the picture ``loss_by_learning_rate``, also
            as the file ``curve.png``. An earlier sweep there is replaced. None: nothing is written.
        min_rate: the learning rate of the first step.
        max_rate: the learning rate of the last step.
        steps: number of steps, at least 20.
        monitor: the name of the loss; None: ``loss``, or the only one that there is.
        optimizer: the attribute that holds the optimizer, for a model with several ones. The others
            keep their rates.
        notice: called with a line for the user if there is no suggestion; stderr by default.

    Attributes:
        rates: the learning rate of each step.
        losses: the loss of each step, before its update; the last one may be not finite.
        suggested_rate: a learning rate, or None.

    Raises:
        UsageError: the rates or the steps are wrong, or Keras has another backend than TensorFlow;
            or, from ``fit``, a callback that saves the model is in the same ``fit``, the data have
            too few steps, the optimizer or the loss is not clear, several workers train the model,
            a plain ``keras.Model`` runs several steps per execution, or the model has variables
            that its first step makes.
        MnistKerasError: from ``fit``, the files cannot be written.

    Example: the largest stable rate is 1 here, because the loss is the square of the weight.

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> model = TapeModel(keras.Sequential([keras.Input((1,)), dense]))
    >>> model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", steps_per_execution=50)
    >>> finder = LearningRateFinder(steps=100)
    >>> x, y = np.ones((50, 1)), np.zeros((50, 1))
    >>> _ = model.fit(x, y, batch_size=1, epochs=2, verbose=0, callbacks=[finder])
    >>> round(finder.suggested_rate, 1)
    0.1
    >>> float(model.optimizer.learning_rate.numpy()), dense.get_weights()[0].item()
    (0.009999999776482582, 1.0)
    """

    def __init__(
        self,
        logdir: StrPath | None = None,
        *,
        min_rate: float = 1e-6,
        max_rate: float = 10.0,
        steps: int = 200,
        monitor: str | None = None,
        optimizer: str | None = None,
        notice: Callable[[str], object] = terminal.notice,
    ) -> None:
        super().__init__()
        backends.require_tensorflow("LearningRateFinder")
        if not 0 < min_rate < max_rate < float("inf"):
            raise UsageError(
                f"the learning rates are wrong. Received: min_rate={min_rate!r}, "
                f"max_rate={max_rate!r}. Expected: 0 < min_rate < max_rate."
            )
        if not isinstance(steps, int) or steps < _LEAST_STEPS:
            raise UsageError(
                f"the number of steps is wrong. Received: steps={steps!r}. "
                f"Expected: an integer of at least {_LEAST_STEPS}."
            )
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.suggested_rate: float | None = None
        self._logdir = None if logdir is None else local_path(logdir)
        self._planned = range_test.sweep_rates(min_rate, max_rate, steps=steps)
        self._monitor = monitor
        self._optimizer = optimizer
        self._notice = notice
        self._probe = LossProbe()
        self._random: dict[str, Any] | None = None
        self._rate: SteeredRate | None = None
        self._snapshot: Snapshot | None = None
        self._divergence: range_test.Divergence | None = None
        self._has_diverged = False

    def __enter__(self) -> Self:
        self.close()
        # Keras opens the data of a plain model before it hands the model over.
        self._random = random_state.capture()
        return super().__enter__()

    def breaks_execution_at(self, step: int) -> bool:
        """True: the rate of each step is set before it."""
        return True

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.close()  # An earlier fit may have ended by an exception.
        if model is None:
            return
        optimizer = self._chosen_optimizer()
        self._snapshot = Snapshot(model, random=self._random)
        strategy = _keras.strategy_of(model)
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            self._rate = SteeredRate(optimizer)
        self._probe.set_model(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._require_alone()
        self._require_steps()
        self._require_single_steps()
        self.rates, self.losses, self.suggested_rate = [], [], None
        window_steps = range_test.steps_in_window(self._planned)
        self._divergence = range_test.Divergence(window_steps=window_steps)
        self._has_diverged = False
        if self.fit.counts_steps and self._snapshot is not None:
            self._snapshot.take(step=self.fit.step_graph)
        elif self._snapshot is not None:
            self._probe.begin_fit(self.model)
            self._snapshot.take_at_first_step()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if self._rate is not None and len(self.rates) < len(self._planned):
            self._rate.assign(self._planned[len(self.rates)])

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        if not self.losses:
            self._require_restorable()
        loss = self._loss(logs)
        self.rates.append(self._planned[len(self.rates)])
        self.losses.append(loss)
        self._has_diverged = self._divergence is not None and self._divergence.reaches(loss)
        if self._has_diverged or len(self.rates) == len(self._planned):
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        self.close()  # First, so that no error can keep the model from its former state.
        is_complete = len(self.rates) == len(self._planned)
        suggestion = range_test.suggest(
            self.rates,
            self.losses,
            diverged=self._has_diverged,
            at_the_end="a larger max_rate" if is_complete else self._more_epochs(),
        )
        self.suggested_rate = suggestion.rate
        if suggestion.rate is None:
            self._notice(f"no learning rate can be suggested: {suggestion.reason}")
        if self._logdir is not None and self.losses:
            from mnist_keras.callbacks.tensorboard import sweep_log

            sweep_log.write(self._logdir, self.rates, self.losses, suggested=suggestion.rate)

    def close(self) -> None:
        """Put everything back; may be called twice."""
        rate, self._rate = self._rate, None
        snapshot, self._snapshot = self._snapshot, None
        self._probe.end_fit()
        if snapshot is not None:
            self._random = None
            snapshot.restore()
        if rate is not None:
            # Afterwards: the snapshot of a plain model has the rate of the first step.
            rate.release()

    def _chosen_optimizer(self):
        found = model_variables.optimizers(self.model)
        # A wrapped network may have been compiled too.
        own = [name for name in found if "/" not in name]
        name = own[0] if self._optimizer is None and len(own) == 1 else self._optimizer
        if name in found:
            return found[name]
        names = ", ".join(found) or "no optimizer"
        raise UsageError(
            "the optimizer of the learning rate is not clear. Received: "
            f"optimizer={self._optimizer!r} for a model with {names}. Expected: the attribute that "
            "holds one of its optimizers."
        )

    def _require_alone(self):
        keeping = [type(peer).__name__ for peer in self.peers if _keeps(peer)]
        if keeping:
            self._refuse(
                "a LearningRateFinder needs a fit of its own, because its steps are undone. "
                f"Received: {', '.join(sorted(keeping))} in the same fit. Expected: no callback "
                "that saves the model or writes a log."
            )
        workers = workers_of(self.model)
        if workers.are_several:
            self._refuse(
                "a LearningRateFinder runs on one worker. "
                f"Received: {workers.count} workers. Expected: one."
            )

    def _require_steps(self):
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if steps and epochs and steps * epochs < len(self._planned):
            self._refuse(
                f"the data have too few steps for the sweep. Received: {steps} steps per epoch, "
                f"epochs={epochs}. Expected: {len(self._planned)} steps, so "
                f"epochs={-(-len(self._planned) // steps)}."
            )

    def _require_single_steps(self):
        try:
            require_single_steps(self)
        except UsageError as error:
            self._refuse(str(error))

    def _more_epochs(self):
        return f"more epochs, for all {len(self._planned)} steps of the sweep"

    def _require_restorable(self):
        made = [] if self._snapshot is None else self._snapshot.new_variables()
        if made:
            self._refuse(
                "the model cannot be put back. Received: variables that the first step made, such "
                f"as {made[0]}. Expected: a model and optimizers that are built before fit."
            )

    def _loss(self, logs):
        """The loss of the step that just ran."""
        if self.fit.counts_steps:
            records = self.model.step_records
            losses = {} if records is None else records.losses_at(self.step - 1)
        else:
            losses = self._probe.values(logs)
        own = [name for name in losses if is_loss(name) or self.fit.counts_steps]
        own = [name for name in own if not name.endswith(EPOCH_MEAN)]
        name = self._monitor or (own[0] if len(own) == 1 else "loss")
        if name not in own:
            self._refuse(
                f"the loss of the sweep is not clear. Received: monitor={self._monitor!r}, and "
                f"steps with {', '.join(losses) or 'no loss'}. Expected: monitor with the name of "
                "a loss of single steps."
            )
        return float(losses[name])

    def _refuse(self, message):
        self.close()  # Keras's own fit does not.
        raise UsageError(message)


def _keeps(callback):
    """Whether a callback saves the model or writes files."""
    kind = type(callback)
    return any(getattr(kind, name) is not getattr(StepCallback, name) for name in _KEEPING)
