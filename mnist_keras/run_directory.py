"""A run's directory: every name on disk, once, and the recipe that lies in it."""

import datetime
import json
import os
import pathlib
import shutil

import filelock

from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.state import storage

# Changing these would change what the run has computed so far.
_TRAINING_FIELDS = (
    "dataset",
    "network",
    "loss",
    "optimizer",
    "learning_rate",
    "schedule",
    "batch_size",
    "shuffle",
    "seed",
    "validation_examples",
    "dtype_policy",
)
_NOT_IN_RECIPE = ("mode", "overwrite", "debug")


class RunDirectory:
    """The files of one run.

    Attributes:
        path: logdir/run_name.
        checkpoints, model, summary, recipe: their paths; ``train/`` and ``validation/`` are made
            by `mnist_keras.callbacks.StepLogger`.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model.keras"
        self.summary = self.path / "summary.json"
        self.recipe = self.path / "flags.txt"
        self._lock_file = self.path / ".lock"
        self._lock = None

    @property
    def name(self):
        """The run's name."""
        return self.path.name

    def open(self):
        """Make the directory and keep other processes out of it until this one ends.

        Raises:
            MnistKerasError: it cannot be written, or another process is training this run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self._lock_file)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise MnistKerasError(
                f"another process is training this run. Received: {self.path}. "
                "Expected: a run of its own for each process (--run_name)."
            ) from None
        except OSError as error:
            raise MnistKerasError(
                f"the run's directory cannot be written: {error.strerror}. "
                f"Received: {self.path}. Expected: a --logdir that can be."
            ) from error

    def close(self):
        """Let other processes in again."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def clear(self):
        """Remove what a run leaves, and nothing else."""
        for entry in (self.summary, self.model, self.recipe):
            entry.unlink(missing_ok=True)
        for directory in ("train", "validation", self.checkpoints.name):
            shutil.rmtree(self.path / directory, ignore_errors=True)

    def stored_recipe(self):
        """The recipe this run was begun with, {flag: text}; None: there is no such run yet."""
        try:
            lines = self.recipe.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise MnistKerasError(f"{self.recipe} cannot be read: {error}.") from error
        flags = (line[2:].partition("=") for line in lines if line.startswith("--"))
        return {name: value for name, _, value in flags}

    def store_recipe(self, config):
        """Write the recipe: a flag file that resumes this run from any working directory."""
        text = "".join(f"--{name}={value}\n" for name, value in self._flags(config).items())
        storage.write_file(self.recipe, text.encode())

    def check_recipe(self, config, stored):
        """Refuse to go on with a run under another recipe.

        Raises:
            UsageError: names the flags that differ.
        """
        asked = self._flags(config)
        fixed = _TRAINING_FIELDS
        if config.schedule != "constant":
            fixed += ("epochs",)  # The schedule's shape spans all epochs.
        differing = [
            name
            for name in fixed
            if asked.get(name) != stored.get(name)
            and not (name == "dataset" and config.dataset == "auto")
        ]
        if differing:
            received = " ".join(f"--{name}={asked.get(name)}" for name in differing)
            expected = " ".join(f"--{name}={stored.get(name)}" for name in differing)
            raise UsageError(
                f"run {self.name} was begun with other flags. Received: {received}. "
                f"Expected: {expected}, or another --run_name, or --overwrite to begin it anew."
            )

    def read_summary(self):
        """What `write_summary` wrote, or None where there is none to be read."""
        try:
            return json.loads(self.summary.read_bytes())
        except (OSError, ValueError):
            return None

    def write_summary(self, summary):
        """Write summary.json."""
        storage.write_file(self.summary, (json.dumps(summary, indent=2) + "\n").encode())

    def _flags(self, config):
        values = {
            **vars(config),
            "logdir": os.path.abspath(self.path.parent),
            "run_name": self.name,
            "data_dir": config.data_dir and os.path.abspath(config.data_dir),
        }
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
            if value is not None and name not in _NOT_IN_RECIPE
        }


def run_directory(config, *, now=datetime.datetime.now):
    """The directory of the run that a recipe names; where it names none, one not there yet."""
    parent = pathlib.Path(config.logdir)
    if config.run_name is not None:
        return RunDirectory(parent / config.run_name)
    name = now().strftime("%Y-%m-%d_%H-%M-%S")
    path, number = parent / name, 1
    while path.exists():
        number += 1
        path = parent / f"{name}_{number}"
    return RunDirectory(path)


def newest_run(logdir):
    """The directory of the run that was begun last.

    Raises:
        UsageError: there is none.
    """
    recipes = pathlib.Path(logdir).glob("*/flags.txt")
    newest = max(recipes, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise UsageError(
            f"there is no run yet. Received: --logdir={logdir}. "
            "Expected: the parent directory of a run."
        )
    return RunDirectory(newest.parent)
