"""Writes the values of a run's steps into a run of MLflow."""

import posixpath
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.sinks.tracker import TrackerSink

_METRICS_AT_ONCE = 1000  # MLflow refuses more.
_STATUSES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowSink(TrackerSink):
    """Writes the values as metrics of an MLflow run, with their steps.

    In a name, MLflow refuses some characters: each becomes "_". It shows an infinite value as the
    largest number that it can store. `TrackerSink` describes what happens at a resume, and while
    MLflow cannot be reached. ``pip install 'mnist_keras[mlflow]'``

    Args:
        directory: where to keep the run's id and the values, such as ``logs/mine/mlflow``.
        tracking_uri: of the MLflow store, such as ``sqlite:///logs/mlflow.db``; None: MLflow's own
            choice, as by ``MLFLOW_TRACKING_URI``.
        experiment: the name of the experiment; it is created if it does not exist.
        run_name: the name of a new run; None: MLflow's own choice.
        parameters: {name: value}, the parameters of a new run.

    Raises:
        UsageError: ``directory`` is a file, or MLflow is not installed.

    Example:

    >>> from mnist_keras.callbacks import StepLogger
    >>> sink = MlflowSink("logs/mine/mlflow", tracking_uri="sqlite:///logs/mlflow.db")
    >>> logger = StepLogger("logs/mine", sinks=[sink])
    """

    package = "mlflow"

    def __init__(
        self,
        directory: StrPath,
        *,
        tracking_uri: str | None = None,
        experiment: str = "Default",
        run_name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(directory, parameters=parameters)
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._run_name = run_name
        self._client: Any = None
        self._run_id = ""

    def open_run(self, run: str | None, *, created: Callable[[str], None]) -> dict[str, int]:
        from mlflow.tracking import MlflowClient

        self._client = client = MlflowClient(tracking_uri=self._tracking_uri)
        self._run_id = run if run and self._has(run) else self._create_run(created)
        client.update_run(self._run_id, status="RUNNING")
        return {
            name: max(point.step for point in client.get_metric_history(self._run_id, name))
            for name in client.get_run(self._run_id).data.metrics
        }

    def tracker_name(self, name: str) -> str:
        # MLflow also refuses what would be another name as a path, such as "a//b" or "../a".
        return re.sub(r"[^\w/. -]", "_", posixpath.normpath(f"/{name}")[1:])

    def send(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        from mlflow.entities import Metric

        now_ms = int(1000 * time.time())
        metrics = [
            Metric(name, value, now_ms, step)
            for step, values in rows
            for name, value in values.items()
        ]
        for begin in range(0, len(metrics), _METRICS_AT_ONCE):
            batch = metrics[begin : begin + _METRICS_AT_ONCE]
            self._client.log_batch(self._run_id, metrics=batch)

    def end_run(self) -> None:
        self._client.set_terminated(self._run_id, status=_STATUSES[self.outcome])

    def _has(self, run):
        """Whether the store has a run; one in --logdir has none of a directory moved there."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _create_run(self, created):
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            experiment = self._client.create_experiment(self._experiment)
        else:
            experiment = found.experiment_id
        run = self._client.create_run(experiment, run_name=self._run_name).info.run_id
        created(run)
        parameters = [Param(name, str(value)) for name, value in self._parameters.items()]
        self._client.log_batch(run, params=parameters)
        return run
