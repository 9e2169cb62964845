"""Writes the values of a run's steps into a run of Aim."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.sinks.tracker import TrackerSink


class AimSink(TrackerSink):
    """Writes the values as metrics of an Aim run, with their steps.

    `TrackerSink` describes what happens at a resume, and while the repository cannot be written.
    ``pip install 'mnist_keras[aim]'``

    Args:
        directory: where to keep the run's id and the values, such as ``logs/mine/aim``.
        repo: the Aim repository: a directory, which is created if it does not exist, or a URL.
        experiment: the name of the experiment of a new run.
        run_name: the name of a new run; None: Aim's own choice.
        parameters: {name: value}, the ``hparams`` of a new run.

    Raises:
        UsageError: ``directory`` is a file, or Aim is not installed.

    Example:

    >>> from mnist_keras.callbacks import StepLogger
    >>> sink = AimSink("logs/mine/aim", repo="logs")
    >>> logger = StepLogger("logs/mine", sinks=[sink])
    """

    package = "aim"

    def __init__(
        self,
        directory: StrPath,
        *,
        repo: StrPath,
        experiment: str = "default",
        run_name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(directory, parameters=parameters)
        self._repo = os.fspath(repo)
        self._experiment = experiment
        self._run_name = run_name
        self._aim_run: Any = None

    def open_run(self, run: str | None, *, created: Callable[[str], None]) -> dict[str, int]:
        from aim.sdk.errors import RunLockingError

        if "://" not in self._repo:
            os.makedirs(self._repo, exist_ok=True)
        try:
            self._aim_run = opened = self._open(run, force_resume=False)
        except RunLockingError:  # The lock of a session that was killed.
            self._aim_run = opened = self._open(run, force_resume=True)
        if run is None:
            created(opened.hash)
            opened.experiment = self._experiment
            opened["hparams"] = self._parameters
            if self._run_name is not None:
                opened.name = self._run_name
        return {metric.name: metric.last_step() for metric in opened.metrics()}

    def send(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        for step, values in rows:
            self._aim_run.track(values, step=step)

    def end_run(self) -> None:
        self._aim_run.close()

    def _open(self, run, *, force_resume):
        import aim

        return aim.Run(
            run,
            repo=self._repo,
            force_resume=force_resume,
            # stdout belongs to the training.
            capture_terminal_logs=False,
            log_system_params=False,
            system_tracking_interval=None,
        )
