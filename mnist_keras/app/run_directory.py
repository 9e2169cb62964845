"""A run's directory: every name on disk, once, and the recipe that lies in it."""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import shutil

import filelock

from mnist_keras.app.config import RunConfig
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.errors import MnistKerasError, UsageError

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
_OPTIONAL_TRAINING_FIELDS = (
    "gradient_accumulation_steps",
    "start_from",
    "adam_beta_1",
    "adam_beta_2",
    "weight_decay",
    "average_decay",
    "label_smoothing",
    "warmup_steps",
    "augment_shift",
    "augment_rotation",
    "augment_scale",
    "augment_shear",
    "augment_elastic",
    "batch_parts",
    "data_partitions",
)
_CHOSEN_ONCE = ("dataset", "batch_parts")  # What "auto" came to holds for the run's whole life.
_NOT_IN_RECIPE = (
    "mode",
    "overwrite",
    "debug",
    "json",
    "contact_sheet",
    "formats",
    "export_dir",
    "paths",
)
# TensorBoard's: the curves, and what its plugins read besides.
_EVENT_DIRECTORIES = ("train", "validation", "plugins")
_EVENT_FILES = "events.out.tfevents.*"


class RunDirectory:
    """The files of one run.

    Args:
        path: logdir/run_name.
        is_new: whether it must not be there yet; where it is, `open` takes another name.
    """

    def __init__(self, path, *, is_new=False):
        self.path = pathlib.Path(path)
        self._is_new = is_new
        self._lock = None

    @property
    def name(self):
        """The run's name."""
        return self.path.name

    @property
    def checkpoints(self):
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self):
        """The file of the trained network."""
        return self.path / "model.keras"

    @property
    def summary(self):
        """The file of `write_summary`."""
        return self.path / "summary.json"

    @property
    def report(self):
        """The file of `write_report`."""
        return self.path / "report.html"

    @property
    def exports(self):
        """The directory of what ``--mode=export`` writes."""
        return self.path / "export"

    @property
    def recipe(self):
        """The flag file of `store_recipe`."""
        return self.path / "flags.txt"

    @property
    def _lock_file(self):
        return self.path / ".lock"

    def open(self):
        """Make the directory and keep other processes out of it until this one ends.

        Raises:
            MnistKerasError: it cannot be written, or another process is training this run.
        """
        try:
            self._make()
            self._lock = filelock.FileLock(self._lock_file)
            self._lock.acquire(timeout=0)
            storage.remove_leftovers(self.path)
        except filelock.Timeout:
            self._lock = None
            raise MnistKerasError(
                f"another process is training this run. Received: {self.path}. "
                "Expected: a run of its own for each process (--run_name)."
            ) from None
        except OSError as error:
            raise MnistKerasError(
                f"the run's directory cannot be written: {error.strerror}. "
                f"Received: {self.path}. Expected: a --logdir that can be."
            ) from error

    def _make(self):
        named, number = self.path, 1
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=not self._is_new)
                return
            except FileExistsError:
                if not self._is_new:
                    raise
            number += 1
            self.path = named.with_name(f"{named.name}_{number}")

    def close(self):
        """Let other processes in again."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # Windows removes no file that is open.
                self._lock_file.unlink()
            self._lock.release()
            self._lock = None

    def clear(self):
        """Remove what a run leaves, and nothing else.

        The recipe goes last: cut off half-way, this is still the directory of a run.
        """
        with _writing(self.path):
            self.summary.unlink(missing_ok=True)
            self.model.unlink(missing_ok=True)
            self.report.unlink(missing_ok=True)
            for path in self.path.glob(_EVENT_FILES):
                path.unlink()
            for directory in (
                *map(self.path.joinpath, _EVENT_DIRECTORIES),
                self.checkpoints,
                self.exports,
            ):
                if directory.exists():
                    shutil.rmtree(directory)
            self.recipe.unlink(missing_ok=True)

    def stored_recipe(self):
        """The recipe this run was begun with, {flag: text}; None: there is no such run yet.

        A flag that it does not hold has its default, as a run of an earlier version had.

        Raises:
            MnistKerasError: the recipe cannot be read or is damaged.
            UsageError: this is the directory of something else.
        """
        self.require_run()
        try:
            lines = self.recipe.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged_recipe(getattr(error, "strerror", None) or "no text") from error
        flags = (line[2:].partition("=") for line in lines if line.startswith("--"))
        stored = {name: value for name, _, value in flags}
        missing = [f"--{name}" for name in _TRAINING_FIELDS if name not in stored]
        if missing:
            raise self._damaged_recipe(f"none of {' '.join(missing)}")
        return _flags_of(RunConfig()) | stored

    def _damaged_recipe(self, received):
        return MnistKerasError(
            f"the run's recipe cannot be read. Received: {self.recipe}: {received}. "
            "Expected: the flags it was begun with, or --overwrite to begin it anew."
        )

    def require_run(self):
        """Refuse a directory that has some of a run's files, but no recipe: whose are they?

        Raises:
            UsageError: names the files.
        """
        if os.path.lexists(self.recipe):
            return
        files = (self.checkpoints, self.exports, self.model, self.report, self.summary)
        names = [*_EVENT_DIRECTORIES, *(path.name for path in files)]
        left = [name for name in names if os.path.lexists(self.path / name)]
        left += [path.name for path in self.path.glob(_EVENT_FILES)]
        if left:
            raise UsageError(
                f"this is no run's directory. Received: {self.path} with {', '.join(left)}, "
                f"without {self.recipe.name}. Expected: another --run_name."
            )

    def store_recipe(self, config):
        """Write the recipe: a flag file that resumes this run from any working directory.

        Where there is no cluster too: "auto" finds the one that "multi_worker" insists on.
        """
        if config.distribution == "multi_worker":
            config = dataclasses.replace(config, distribution="auto")
        text = "".join(f"--{name}={value}\n" for name, value in self._flags(config).items())
        with _writing(self.recipe):
            storage.write_file(self.recipe, text.encode())

    def check_recipe(self, config, stored):
        """Refuse to go on with a run under another recipe.

        Raises:
            UsageError: names the flags that differ.
        """
        asked = self._flags(config)
        fixed: tuple[str, ...] = _TRAINING_FIELDS + _OPTIONAL_TRAINING_FIELDS
        if config.schedule != "constant":
            fixed += ("epochs",)  # The schedule's shape spans all epochs.
        differing = [
            name
            for name in fixed
            if asked.get(name) != stored.get(name)
            and not (name in _CHOSEN_ONCE and "auto" in (asked.get(name), stored.get(name)))
        ]
        if differing:
            received = " ".join(_flag(name, asked.get(name)) for name in differing)
            expected = " ".join(_flag(name, stored.get(name)) for name in differing)
            raise UsageError(
                f"run {self.name} was begun with other flags. Received: {received}. "
                f"Expected: {expected}, or another --run_name, or --overwrite to begin it anew."
            )

    def require_steps(self, config, *, steps_per_epoch):
        """Refuse to end a run before the place where it already is.

        Raises:
            UsageError: says how many epochs it takes at least.
        """
        done = max(self._steps_saved(), default=0)
        if done > config.epochs * steps_per_epoch:
            raise UsageError(
                f"run {self.name} is already past its end. Received: --epochs={config.epochs}. "
                f"Expected: at least {-(-done // steps_per_epoch)}, as {done} steps of "
                f"{steps_per_epoch} an epoch are done, or --overwrite to begin it anew."
            )

    def has_checkpoint(self):
        """Whether the run has saved one."""
        return bool(self._steps_saved())

    def _steps_saved(self):
        return CheckpointDirectory(self.checkpoints, keep=1).steps()

    def finished(self):
        """The summary of the run, {name: value}; None: it is not finished, or has lost a file."""
        try:
            summary = json.loads(self.summary.read_bytes())
            is_whole = isinstance(summary["epochs"], int) and summary["test_accuracy"] >= 0
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return summary if is_whole and self.model.exists() else None

    def write_summary(self, summary):
        """Write summary.json."""
        with _writing(self.summary):
            storage.write_file(self.summary, (json.dumps(summary, indent=2) + "\n").encode())

    def write_report(self, page):
        """Write report.html."""
        with _writing(self.report):
            storage.write_file(self.report, page.encode())

    def write_model(self, data):
        """Write model.keras."""
        with _writing(self.model):
            storage.write_file(self.model, data)

    def _flags(self, config):
        absolute = {
            name: getattr(config, name) and os.path.abspath(getattr(config, name))
            for name in ("data_dir", "start_from")
        }
        config = dataclasses.replace(
            config, logdir=os.path.abspath(self.path.parent), run_name=self.name, **absolute
        )
        return _flags_of(config)


def training_recipe(config):
    """{flag: value} of all that decides what a run computes."""
    names = (*_TRAINING_FIELDS, *_OPTIONAL_TRAINING_FIELDS, "epochs")
    return {name: getattr(config, name) for name in names}


def _flags_of(config):
    """{name: text} of a recipe's fields that have a value, as the flags are written."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in vars(config).items()
        if name not in _NOT_IN_RECIPE and value is not None
    }


def _flag(name, value):
    return f"no --{name}" if value is None else f"--{name}={value}"


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise MnistKerasError(
            f"{path} cannot be written. Received: {error.strerror or error}. "
            "Expected: a disk that takes it; the run's checkpoints are as they were."
        ) from error


def run_directory(config, *, now=datetime.datetime.now):
    """The directory of the run that a recipe names; where it names none, a new one."""
    parent = pathlib.Path(config.logdir)
    if config.run_name is not None:
        return RunDirectory(parent / config.run_name)
    return RunDirectory(parent / now().strftime("%Y-%m-%d_%H-%M-%S"), is_new=True)


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
