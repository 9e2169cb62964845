"""A run's directory: the names of its files, and how they are read and written."""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mnist_keras.annotations import StrPath
from mnist_keras.app import flag_files, moved_runs
from mnist_keras.app.config import SINK_FILES, TRACKERS, RunConfig
from mnist_keras.app.setting import AUTO, integer, settings
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.console.terminal import notice
from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.inputs import json_text
from mnist_keras.inputs.file_lock import FileLock, LockHeldError
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import read_regular, sha256_of

# TensorBoard's: the curves, and the files that its plugins read.
_EVENT_DIRECTORIES = ("train", "validation", "plugins")
# Event files, those set aside as damaged, and the curves of a training whose checkpoints were
# removed.
_PATTERNS = ("events.out.tfevents.*", "damaged.events.*", "earlier-*")


class RunDirectory:
    """The files of one run.

    Args:
        path: logdir/run_name.
        is_new: whether it must not exist yet; if it does, `open` takes another name.
    """

    def __init__(self, path: StrPath, *, is_new: bool = False) -> None:
        self.path = pathlib.Path(local_path(path))
        self._is_new = is_new
        self._lock: FileLock | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def checkpoints(self) -> pathlib.Path:
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> pathlib.Path:
        """The file of the trained network."""
        return self.path / "model.keras"

    @property
    def summary(self) -> pathlib.Path:
        """The file of `write_summary`."""
        return self.path / "summary.json"

    @property
    def report(self) -> pathlib.Path:
        """The file of `write_report`."""
        return self.path / "report.html"

    def steps_file(self, name: str) -> pathlib.Path:
        """The file of a sink that writes one, such as "csv"."""
        return self.path / f"steps.{name}"

    def tracker(self, name: str) -> pathlib.Path:
        """The directory that an experiment tracker's sink keeps its files in."""
        return self.path / name

    @property
    def exports(self) -> pathlib.Path:
        """The directory of the files that ``--mode=export`` writes."""
        return self.path / "export"

    @property
    def _sweeps(self) -> pathlib.Path:
        return self.path / "sweeps"

    @property
    def recipe(self) -> pathlib.Path:
        """The flag file of `store_recipe`."""
        return self.path / moved_runs.FILE_NAME

    @property
    def flagfile(self) -> str:
        """The flag that reads the recipe."""
        return f"--flagfile={self.recipe}"

    def open(self) -> None:
        """Make the directory and keep other processes out of it until this one ends.

        Raises:
            MnistKerasError: it cannot be written, or another process is training this run.
        """
        self.make()
        try:
            lock = FileLock(self.path / ".lock")
            lock.acquire()
            self._lock = lock
            if not lock.is_supported:
                notice(
                    "the file system has no locks, so nothing keeps a second process out of this "
                    f"run. Received: {self.path}. Expected: one process for each run."
                )
            self._remove_leftovers()
        except LockHeldError:
            raise MnistKerasError(
                f"another process is training this run. Received: {self.path}. "
                "Expected: another run for each process (--run_name)."
            ) from None
        except OSError as error:
            raise self._not_written(error) from error

    def _remove_leftovers(self) -> None:
        files = {path.name for path in (self.recipe, self.model, self.summary, self.report)}
        storage.remove_leftovers(self.path, is_own=files.__contains__)
        for directory in (*_EVENT_DIRECTORIES, *TRACKERS):
            storage.remove_leftovers(self.path / directory)

    def announce_links(self) -> None:
        """Say once for each directory of the run that is a link where its files are written."""
        names = (*_EVENT_DIRECTORIES, *TRACKERS)
        for path in (self.checkpoints, *map(self.path.joinpath, names)):
            if path.is_symlink():
                notice(
                    f"{path} is a link: its files are written in {os.path.realpath(path)}. "
                    "Files of others there stay."
                )

    def tidy(self, checkpoints: CheckpointDirectory, *, newest_step: int) -> None:
        """Remove what killed processes have left, unless another process is training this run.

        Args:
            checkpoints: those of the run.
            newest_step: the step of the newest one.
        """
        with contextlib.suppress(MnistKerasError, OSError):  # It may be read-only.
            self.open()
            try:
                checkpoints.tidy(newest_step)
            finally:
                self.close()

    def make(self) -> None:
        """Make the directory.

        Raises:
            MnistKerasError: it cannot be written.
        """
        try:
            self._make()
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> MnistKerasError:
        return MnistKerasError(
            f"the run's directory cannot be written: {error.strerror}. "
            f"Received: {self.path}. Expected: a --logdir that can be written."
        )

    def _make(self) -> None:
        named, number = self.path, 1
        storage.make_directories(self.path.parent)
        storage.require_targets(self.path)
        while True:
            try:
                self.path.mkdir(exist_ok=not self._is_new)
                storage.Disk().sync_directory(self.path.parent)
                return
            except FileExistsError:
                if not self._is_new:
                    raise
            number += 1
            self.path = named.with_name(f"{named.name}_{number}")

    def close(self) -> None:
        """Let other processes in again."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def clear(self) -> None:
        """Remove the files of the run, and nothing else.

        The recipe is removed last: after an interruption this is still the directory of a run. A
        sweep of the learning rate without a run stays: it was made for the run that begins.
        """
        of_a_run = (self._sweeps, self.recipe) if os.path.lexists(self.recipe) else ()
        with _writing(self.path):
            for path in (*self._left(), *of_a_run):
                if os.path.lexists(path):
                    storage.Disk().remove(path)

    def flags(self, config: RunConfig) -> dict[str, str]:
        """The recipe of a config in this directory, {flag: text}, with absolute paths."""
        own: dict[str, Any] = {"logdir": str(self.path.parent), "run_name": self.name}
        flags = _stored_flags(dataclasses.replace(config, **own))
        return {
            name: os.path.abspath(text) if settings(RunConfig)[name].is_path else text
            for name, text in flags.items()
        }

    def store_recipe(self, config: RunConfig) -> None:
        """Write the recipe: a flag file that resumes this run from any working directory.

        It also resumes it without a cluster: "auto" finds the cluster that "multi_worker" requires.
        """
        if config.distribution == "multi_worker":
            config = dataclasses.replace(config, distribution="auto")
        text = "".join(f"--{name}={value}\n" for name, value in self.flags(config).items())
        with _writing(self.recipe):
            storage.write_file(self.recipe, text.encode())

    def stored_recipe(self) -> dict[str, str] | None:
        """The recipe that this run was started with, {flag: text}; None: there is no such run yet.

        A flag that it does not hold has its default, as a run of an earlier version had.

        Raises:
            MnistKerasError: the recipe cannot be read or is damaged.
            UsageError: the directory has some of a run's files, but no recipe.
        """
        self.require_run()
        try:
            lines = flag_files.lines_of(read_regular(self.recipe))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise self._damaged_recipe(getattr(error, "strerror", None) or "not text") from error
        lines = moved_runs.at_place(lines, self.path)
        flags = (line[2:].partition("=") for line in lines if line.startswith("--"))
        stored = {name: value for name, _, value in flags}
        required = [name for name, it in settings(RunConfig).items() if it.in_every_recipe]
        missing = [f"--{name}" for name in required if name not in stored]
        if missing:
            raise self._damaged_recipe(f"no {', '.join(missing)}")
        for name, value in stored.items():
            setting = settings(RunConfig).get(name)
            if setting is None or not setting.is_integer:
                continue
            if integer(value) is None and not (setting.accepts_auto and value == AUTO):
                raise self._damaged_recipe(f"a value of --{name} that is not an integer")
        return _stored_flags(RunConfig()) | stored

    def _damaged_recipe(self, received: str) -> MnistKerasError:
        return MnistKerasError(
            f"the run's recipe cannot be read. Received: {self.recipe}: {received}. "
            "Expected: the flags that the run was started with, or --overwrite to start it anew."
        )

    def require_run(self) -> None:
        """Refuse a directory that has some of a run's files, but no recipe: they may be the user's.

        Raises:
            UsageError: names the files.
        """
        if os.path.lexists(self.recipe):
            return
        left = [path.name for path in self._left()]
        if left:
            raise UsageError(
                f"this is not a run's directory. Received: {self.path} with {', '.join(left)}, "
                f"without {self.recipe.name}. Expected: another --run_name."
            )

    def _left(self) -> list[pathlib.Path]:
        """What a run leaves in the directory, besides the recipe."""
        paths = [
            *map(self.path.joinpath, _EVENT_DIRECTORIES),
            *(self.checkpoints, self.exports, self.model, self.report, self.summary),
            *map(self.steps_file, SINK_FILES),
            *map(self.tracker, TRACKERS),
        ]
        present = [path for path in paths if os.path.lexists(path)]
        return [*present, *(path for it in _PATTERNS for path in self.path.glob(it))]

    def steps_saved(self) -> list[int]:
        """The step of each checkpoint, ascending; damaged ones and other directories included."""
        return self._any_checkpoints().steps()

    def newest_step(self) -> int | None:
        """The step of the newest undamaged checkpoint, or None; reads all of its bytes."""
        return self._any_checkpoints().newest_step()

    def _any_checkpoints(self) -> CheckpointDirectory:
        return CheckpointDirectory(self.checkpoints, keep=1)

    def finished(self) -> dict[str, Any] | None:
        """The summary of the run, {name: value}; None: it is not finished, or has lost a file.

        A damaged summary is reported and counts as lost: to train the run again writes it anew.
        """
        try:
            summary = json_text.parse(read_regular(self.summary))
            if not (type(summary["epochs"]) is int and 0 <= summary["test_accuracy"] <= 1):
                raise ValueError("other values than a run writes")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            received = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            notice(
                f"{self.summary} is damaged, and the run counts as unfinished: training it again "
                f"scores it anew. Received: {' '.join(received.split())}. "
                "Expected: the summary that the run wrote."
            )
            return None
        return summary if self.model.exists() else None

    def has_model_of(self, summary: Mapping[str, Any]) -> bool:
        """Whether model.keras has the bytes that a summary was written with.

        A summary of an earlier version does not say.
        """
        expected = summary.get("model_sha256")
        if expected is None:
            return True
        try:
            return sha256_of(self.model) == expected
        except OSError:
            return False

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        with _writing(self.summary):
            storage.write_file(self.summary, (json.dumps(summary, indent=2) + "\n").encode())

    def write_report(self, page: str) -> None:
        """Write report.html."""
        with _writing(self.report):
            storage.write_file(self.report, page.encode())

    def write_model(self, data: bytes) -> None:
        """Write model.keras."""
        with _writing(self.model):
            storage.write_file(self.model, data)


def run_directory(
    config: RunConfig, *, now: Callable[[], datetime.datetime] = datetime.datetime.now
) -> RunDirectory:
    """The directory of the run that a config names; a new one if it names none."""
    parent = pathlib.Path(config.logdir)
    if config.run_name is not None:
        return RunDirectory(parent / config.run_name)
    return RunDirectory(parent / now().strftime("%Y-%m-%d_%H-%M-%S"), is_new=True)


def newest_run(logdir: StrPath) -> RunDirectory:
    """The directory of the run whose recipe was written last.

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


def _stored_flags(config: RunConfig) -> dict[str, str]:
    """{name: text} of the settings that flags.txt stores, without those that are None."""
    return {
        it.name: it.text(value)
        for it in settings(RunConfig).values()
        if it.is_stored and (value := getattr(config, it.name)) is not None
    }


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MnistKerasError(
            f"{path} cannot be written. Received: {error.strerror or error}. "
            "Expected: a disk with free space; the run's checkpoints are unchanged."
        ) from error
