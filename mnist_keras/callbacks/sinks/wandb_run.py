"""Writes the values of a run's steps into a run of Weights & Biases."""

import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.sinks.sink import outlasts
from mnist_keras.callbacks.sinks.tracker import TrackerSink
from mnist_keras.callbacks.sinks.wandb_log import last_row
from mnist_keras.errors import UsageError


class WandbSink(TrackerSink):
    """Writes the values as the history of a Weights & Biases run.

    The charts' x axis is ``step``, the number of the batch. W&B's own ``_step`` is twice that for
    the end of an epoch and one more for a batch, because both may have the same number.

    `TrackerSink` describes what happens at a resume, and while W&B cannot be reached. With
    ``mode="offline"`` each session has its own directory; ``wandb sync --include-offline`` uploads
    them into one run. ``pip install 'mnist_keras[wandb]'``

    Args:
        directory: where to keep the run's id and the values, and the directory ``wandb`` with W&B's
            own files; such as ``logs/mine/wandb``.
        project, entity: where a new run is; None: W&B's own choice.
        run_name: the name of a new run; None: W&B's own choice.
        mode: "online", "offline" or "disabled"; None: W&B's own choice, as by ``WANDB_MODE``.
        parameters: {name: value}, the config of the run.

    Raises:
        UsageError: ``directory`` is a file, ``mode`` is unknown, or wandb is not installed.

    Example:

    >>> from mnist_keras.callbacks import StepLogger
    >>> sink = WandbSink("logs/mine/wandb", project="digits", mode="offline")
    >>> logger = StepLogger("logs/mine", sinks=[sink])
    """

    package = "wandb"

    def __init__(
        self,
        directory: StrPath,
        *,
        project: str | None = None,
        entity: str | None = None,
        run_name: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(directory, parameters=parameters)
        if mode not in (None, "online", "offline", "disabled"):
            raise UsageError(
                f"the mode of W&B is unknown. Received: {mode!r}. "
                'Expected: "online", "offline" or "disabled".'
            )
        self._mode = mode
        self._where: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "name": run_name,
            "mode": mode,
        }
        self._wandb_run: Any = None
        self._next = 0

    def open_run(self, run: str | None, *, created: Callable[[str], None]) -> dict[str, int]:
        import wandb

        mode = self._mode or os.environ.get("WANDB_MODE", "online")
        # wandb.init would ask for the key on the terminal.
        if mode == "online" and not wandb.login(prompt=False):
            raise ConnectionError('there is no API key; the command "wandb login" stores it')
        if run is None:
            run = uuid.uuid4().hex[:8]
            created(run)
        self._wandb_run = wandb.init(
            id=run,
            resume="allow",
            dir=str(self._directory),
            config=self._parameters,
            # stdout and stderr belong to the training.
            settings=wandb.Settings(console="off", silent=True),
            **self._where,
        )
        if self._wandb_run.offline:
            self._next = last_row(self._directory / "wandb", run) + 1
        else:
            self._next = self._wandb_run.starting_step
        self._wandb_run.define_metric("*", step_metric="step")
        return {}

    def lacking(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        return {**values} if _row(step, values) >= self._next else {}

    def send(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        for step, values in rows:
            self._wandb_run.log({**values, "step": step}, step=_row(step, values), commit=True)

    def end_run(self) -> None:
        self._wandb_run.finish(exit_code=int(self.outcome != "finished"))


def _row(step, values):
    """The number of a row of the history: an epoch ends before the batch of the same number."""
    return 2 * step + (not outlasts(values))
