"""Logs the losses of single steps, on stdout and in TensorBoard."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import keras

from mnist_keras import triggers
from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import require_single_steps
from mnist_keras.callbacks.loss_tracker import examples_in_epoch
from mnist_keras.callbacks.sinks.guarded import GuardedSinks
from mnist_keras.callbacks.sinks.sink import Sink
from mnist_keras.callbacks.step_observer import EPOCH_MEAN, is_loss
from mnist_keras.callbacks.tensorboard.epoch_curves import epoch_curves
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback
from mnist_keras.callbacks.tensorboard.loss_probe import LossProbe
from mnist_keras.console import terminal


class StepLogger(EventCallback):
    """Prints ``EPOCH STEP loss: VALUE`` and writes TensorBoard scalars every ``every_steps`` steps.

    The value at step s is the loss of batch s before its update; s counts from 0 at the run's
    start. ``logdir/train`` contains ``loss``, ``learning_rate``, ``gradient_norm`` (only for a
    `TapeModel`) and ``examples_per_second`` at these steps. At the end of each epoch it also gets
    ``epoch_NAME`` for each metric; its step is the number of updates done. ``logdir/validation``
    contains ``epoch_NAME`` for each validation metric. The entries of a metric that returns an
    array, such as a score per class, are ``epoch_NAME/0`` and so on; if there are more than 32,
    their mean is ``epoch_NAME/mean``. However often the run is resumed, TensorBoard shows each step
    once. A training that begins anew keeps the earlier curves: see `EventCallback`.

    A ``train_step`` of your own needs nothing for that. Each log whose name ends with "loss" is
    logged under its name, for example ``kl_loss``. If the log is the result of a metric, so a mean
    over the epoch, the logged value is that of the step. If it cannot be found, the mean is logged,
    as ``NAME (epoch mean)``. A loss with a number for each example is logged as their mean. A step
    without a ``loss`` prints its other losses on one line:
    ``EPOCH STEP d_loss: VALUE g_loss: VALUE``. If the step applies several optimizers, the tags are
    ``learning_rate/NAME`` and ``gradient_norm/NAME``, where NAME is the attribute that holds the
    optimizer.

    Args:
        logdir: the run's directory; None: nothing is written, only printed.
        every_steps: interval in steps.
        echo: whether to print on stdout.
        also_print: the tags of other values to print on the same line, in this order, such as
            ``("kl_loss", "gradient_norm")``; a tag without a value is left out.
        sinks: places that get the same values besides, each a `mnist_keras.callbacks.sinks.Sink`.
        clock: a function that returns the time in seconds.

    Raises:
        UsageError: ``every_steps`` is not an integer of at least 1; one of ``sinks`` is not a
            `Sink`; or a plain ``keras.Model`` runs several steps per execution, which hides the
            single steps.

    Example:

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse", steps_per_execution=4)
    >>> logger = StepLogger(None, every_steps=2)
    >>> x, y = np.zeros((8, 3)), np.ones((8, 1))
    >>> _ = model.fit(x, y, batch_size=2, verbose=0, callbacks=[logger])
    0
    0 0 loss: 1.0
    0 2 loss: 0.0625
    """

    def __init__(
        self,
        logdir: StrPath | None,
        *,
        every_steps: int = 100,
        echo: bool = True,
        also_print: Iterable[str] = (),
        sinks: Iterable[Sink] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(logdir)
        self._trigger = triggers.every(every_steps)
        self._echo = echo
        self._also_print = tuple(also_print)
        self._sinks = GuardedSinks(sinks)
        self._clock = clock
        self._probe = LossProbe()
        self._epoch_begun: int | None = None
        self._batch_began = self._seconds = 0.0
        self._examples_before: int | None = None

    def needs_gradient_norm(self, step: int) -> bool:
        """Whether step ``step`` is logged; a `TapeModel` then computes its gradient norm."""
        return self._trigger(step)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._probe.set_model(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._sinks.close(failed=True)  # Only after an exception in an earlier fit are they open.
        if not self.fit.counts_steps:
            require_single_steps(self)
            self._probe.begin_fit(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._sinks.begin(
            self.step, resumes=self.fit.resumes, has_another_model=self.has_another_model
        )
        if epoch != self._epoch_begun:
            self._print(epoch)
            self._epoch_begun = epoch
        self._examples_before, self._seconds = None, 0.0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if not self.fit.counts_steps and self._trigger(self.step):
            self._probe.begin_step(self.model)
        if self._examples_before is None:
            self._examples_before = self._examples(batch)
        self._batch_began = self._clock()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._seconds += self._clock() - self._batch_began
        first_step, first_batch = self.step, self._begin
        super().on_train_batch_end(batch, logs)
        due = [step for step in range(first_step, self.step) if self._trigger(step)]
        if not due:
            return
        values = {step: self._values(step, logs) for step in due}
        rate = self._examples_per_second()
        for step in due:
            words = self._words(values[step])
            if words:
                self._print(self.epoch, first_batch + step - first_step, *words)
            points = {**values[step], **rate}
            self.log_scalars(points, subdirectory="train", step=step, keep=False)
            self._sinks.write(step, points)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._epoch_begun = None
        values: dict[str, dict[str, float]] = {"train": {}, "validation": {}}
        numbers = epoch_curves(logs)
        for name, value in numbers.items():
            subdirectory = "validation" if name.startswith("val_") else "train"
            values[subdirectory][f"epoch_{name.removeprefix('val_')}"] = value
        for subdirectory, points in values.items():
            self.log_scalars(points, subdirectory=subdirectory)
        self._sinks.write(self.step, {f"epoch_{name}": value for name, value in numbers.items()})

    def on_train_end(self, logs: Logs = None) -> None:
        self._sinks.close()
        super().on_train_end(logs)

    def flush(self) -> None:
        """Write all points to the disk; may be called from another thread."""
        super().flush()
        self._sinks.flush()

    def close(self) -> None:
        """Close the sinks, and the event files unless other callbacks still write."""
        self._sinks.close(failed=True)  # `on_train_end` has closed them after a normal end.
        super().close()
        self._probe.end_fit()

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs to continue exactly."""
        return {"epoch_begun": self._epoch_begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self._epoch_begun = state["epoch_begun"]

    def _values(self, step, logs):
        """{tag: value} of a step that just ran."""
        if self.fit.counts_steps:
            values = self.model.step_records.at(step)
        else:
            values = self._probe.values(logs)
        return {tag: values[tag] for tag in sorted(values)}

    def _words(self, values):
        """What the line of a step says after the epoch and the step."""
        losses = [tag for tag in values if is_loss(tag.removesuffix(EPOCH_MEAN))]
        if self.fit.counts_steps:
            losses = [tag for tag in self.model.step_records.loss_names if tag in values]
        names = [tag for tag in ("loss", f"loss{EPOCH_MEAN}") if tag in losses][:1] or losses
        names += [tag for tag in self._also_print if tag in values and tag not in names]
        return [word for name in names for word in (f"{name}:", values[name])]

    def _examples_per_second(self):
        examples, seconds = self._examples(self.step_in_epoch), self._seconds
        before, self._examples_before, self._seconds = self._examples_before, examples, 0.0
        if examples is None or before is None or examples <= before or seconds <= 0:
            return {}
        return {"examples_per_second": (examples - before) / seconds}

    def _examples(self, batches):
        """The number of examples in the epoch's first ``batches`` batches; None: unknown."""
        counted = None if self.fit.counts_steps else self._probe.examples
        return examples_in_epoch(self, batches=batches) if counted is None else counted

    def _print(self, *words):
        if self._echo:
            terminal.print_line(*words)
