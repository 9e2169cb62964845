"""Where the values of a run's steps go besides TensorBoard: ``--sinks``."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mnist_keras.app.config import TRACKERS, RunConfig
from mnist_keras.app.resume_rules import training_recipe
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.console import extras

if TYPE_CHECKING:
    from mnist_keras.callbacks.sinks import Sink

_PROJECT = "mnist_keras"


def require_packages(config: RunConfig) -> None:
    """Refuse a recipe whose sinks need a package that is not installed.

    Raises:
        UsageError: names the extra that installs it.
    """
    for name in config.sinks or ():
        if name in TRACKERS:
            extras.require(name, needed_by=f"--sinks={name}")


def sinks(run: RunDirectory, config: RunConfig) -> list["Sink"]:
    """The sinks that a recipe asks for; a tracker's own variables say where it is."""
    from mnist_keras.callbacks.sinks import AimSink, CsvSink, JsonLinesSink, MlflowSink, WandbSink

    runs = run.path.parent.absolute()
    shown: dict[str, Any] = {"run_name": run.name, "parameters": training_recipe(config)}
    store = None if "MLFLOW_TRACKING_URI" in os.environ else f"sqlite:///{runs}/mlflow.db"
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    make: dict[str, Callable[[], Sink]] = {
        "csv": lambda: CsvSink(run.steps_file("csv")),
        "jsonl": lambda: JsonLinesSink(run.steps_file("jsonl")),
        "mlflow": lambda: MlflowSink(
            run.tracker("mlflow"), tracking_uri=store, experiment=experiment, **shown
        ),
        "wandb": lambda: WandbSink(run.tracker("wandb"), project=project, **shown),
        "aim": lambda: AimSink(run.tracker("aim"), repo=runs, experiment=_PROJECT, **shown),
    }
    return [make[name]() for name in config.sinks or ()]
