"""Shows training progress: a bar on stderr, or occasional lines of text without a terminal."""

import collections
import math
import time
from collections.abc import Callable
from typing import Any

from mnist_keras.annotations import Logs
from mnist_keras.callbacks.base import StepCallback, scalars
from mnist_keras.callbacks.loss_tracker import examples_in_epoch
from mnist_keras.callbacks.step_observer import EPOCH_MEAN, is_loss
from mnist_keras.console.progress_display import LINE_EVERY_S, Part, ProgressDisplay
from mnist_keras.console.terminal import duration, printable

_MARKS = 1000  # for the mean speed over some minutes, including validations


class Progress(StepCallback):
    """Shows epochs and steps done, the time left, metrics, examples per second and the last save.

    On a terminal it draws a bar at the bottom, at most four times a second; printed text appears
    unchanged above the bar. In a file or a pipe it prints a line of plain text every
    ``line_every_s`` seconds. When training ends for any reason, one line of plain text stays.
    Nothing is read from the device between two updates of the display. A resumed run continues
    from its earlier progress. Losses that are not in the logs, but that the last step recorded with
    `TapeModel.record_step`, are shown too.

    Args:
        examples: what to call the examples; None: images for a stream of
            `mnist_keras.data.batches` whose examples have two axes or more, else examples.
        line_every_s: seconds between two lines of plain text, if stderr is not a terminal.
        clock: returns the time in seconds.

    Example:

    >>> import keras, numpy as np
    >>> from mnist_keras import TapeModel
    >>> model = TapeModel(keras.Sequential([keras.layers.Dense(1)]))
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> x, y = np.zeros((8, 3)), np.ones((8, 1))
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[Progress()])
    """

    chief_only = True

    def __init__(
        self,
        *,
        examples: str | None = None,
        line_every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._examples = examples
        self._line_every_s = line_every_s
        self._clock = clock
        self._display: ProgressDisplay | None = None
        self._began_s = 0.0
        self._marks: collections.deque[tuple[float, int]] = collections.deque(maxlen=_MARKS)
        self._steps_per_epoch: int | None = None
        self._first: tuple[int, float | None] | None = None
        self._examples_per_step: float | None = None
        self._logs: dict[str, Any] = {}
        self._validation: dict[str, float] = {}
        self._records: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self.close()
        self._display = ProgressDisplay(line_every_s=self._line_every_s, clock=self._clock)
        self._began_s = self._clock()
        self._marks.clear()
        self._steps_per_epoch = self.params.get("steps")
        self._logs, self._validation, self._records = {}, {}, None
        self._first = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self.step_in_epoch = self.fit.steps_skipped
        self._show_if_due()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if self._first is None:
            self._first = batch, examples_in_epoch(self, batches=batch)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        self._logs = logs or {}
        self._records = self.model.step_records if self.fit.counts_steps else None
        if not self._marks:
            # Not earlier: the first execution includes the time to trace the graph.
            self._mark()
            self._examples_per_step = self._examples_since(self._first)
        self._show_if_due()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._steps_per_epoch = self._steps_per_epoch or self.step_in_epoch
        super().on_epoch_end(epoch, logs)
        metrics = scalars(logs)
        self._validation = {name: v for name, v in metrics.items() if name.startswith("val_")}
        self._logs = {name: v for name, v in metrics.items() if name not in self._validation}
        self._show_if_due()

    def close(self) -> None:
        """Remove the bar and print one last line of plain text with the progress."""
        display, self._display = self._display, None
        if display is None:
            return
        if self._marks:
            self._mark()
            display.close(self._lines(ended=True))
        else:
            display.close()

    def _show_if_due(self):
        if self._display is not None and self._display.is_due:
            if self._marks:
                self._mark()
            self._display.show(self._lines())

    def _mark(self):
        self._marks.append((self._clock(), self.step))

    def _lines(self, *, ended=False):
        speed = self._steps_per_second()
        lines = [self._place(speed, ended=ended), self._figures(speed, ended=ended)]
        return [line for line in lines if line]

    def _place(self, speed, *, ended):
        epochs, steps = self.params["epochs"], self._steps_per_epoch
        parts = [Part(f"{self.epoch}/{epochs} epochs", 0)]
        if self.epoch < epochs and (self.step_in_epoch or not ended):
            of_steps = f"/{steps}" if steps else ""
            parts.append(Part(f"{self.step_in_epoch}{of_steps} steps", 2))
        if ended:
            parts.append(Part(f"took {duration(self._clock() - self._began_s)}", 3))
        elif steps:
            done, total = self.epoch * steps + self.step_in_epoch, epochs * steps
            parts.insert(1, Part("", 1, fraction=min(done / total, 1.0)))
            if speed:
                left_s = math.ceil((total - done) / speed)
                parts.append(Part(f"{duration(left_s)} left", 3, "cyan"))
        return parts

    def _figures(self, speed, *, ended):
        values = scalars(self._logs)
        values = {**self._recorded_losses(values), **values}
        parts = [
            Part(f"{printable(name)} {value:.4g}", _rank(name, values))
            for name, value in {**values, **self._validation}.items()
        ]
        parts.sort(key=lambda part: part.rank)
        if self._examples_per_step and speed:
            per_second = f"{speed * self._examples_per_step:,.0f} {self._name_of_examples()}/s"
            parts.append(Part(per_second, 2, "green"))
        ages = (peer.seconds_since_save for peer in self.peers)
        ages_s = [age_s for age_s in ages if age_s is not None]
        if ages_s and not ended:
            parts.append(Part(f"saved {duration(min(ages_s))} ago", 3))
        return parts

    def _recorded_losses(self, logs):
        """The losses of the last step that are not in the logs, {name: number}."""
        names = () if self._records is None else self._records.loss_names
        missing = [name for name in names if name.removesuffix(EPOCH_MEAN) not in logs]
        if not missing:
            return {}
        losses = self._records.losses_at(self.step - 1)
        return {name: losses[name] for name in missing if name in losses}

    def _name_of_examples(self):
        are_images = self.stream is not None and len(self.stream.description.image_shape) > 1
        return self._examples or ("images" if are_images else "examples")

    def _examples_since(self, first):
        """The mean number of examples in a batch since some batch; None if it is not known."""
        batch, before = first
        examples = examples_in_epoch(self, batches=self.step_in_epoch)
        if examples is None or before is None:
            return None
        return (examples - before) / (self.step_in_epoch - batch)

    def _steps_per_second(self):
        if len(self._marks) < 2:
            return None
        (first_s, first_steps), (last_s, last_steps) = self._marks[0], self._marks[-1]
        return (last_steps - first_steps) / (last_s - first_s) if last_s > first_s else None


def _rank(name, values):
    """How early a value is left out on a narrow display; 0 is never left out."""
    if name == "loss" or ("loss" not in values and name in values and is_loss(name)):
        return 0
    return 1 if name == "accuracy" else 4
