"""The base of the sinks that write into an experiment tracker."""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.sinks.json_lines import JsonLinesSink, read_rows
from mnist_keras.callbacks.sinks.sender import Sender
from mnist_keras.callbacks.sinks.sink import Sink
from mnist_keras.checkpoint import storage
from mnist_keras.console import extras, terminal
from mnist_keras.errors import UsageError
from mnist_keras.inputs import json_text
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import read_regular

_MEASURED = "examples_per_second"  # Another value in each session, even if all else is equal.


class TrackerSink(Sink):
    """Base of the sinks that write into an experiment tracker, which cannot take points back.

    ``directory`` gets two files. ``steps.jsonl`` has all values, as `JsonLinesSink` writes them. A
    thread sends them to the tracker, so the training never waits for it. ``run.json`` has the id of
    the run there. Each session asks the tracker what it has, and sends what is missing: also values
    that an earlier session wrote while the tracker could not be reached, or that the tracker lost
    when it was killed. Values that it already has are not sent again.

    A training that resumes continues the tracker's run. So does one that was killed before its
    first checkpoint and begins again at step 0 with the same values. Any other training that begins
    at step 0 begins a new run.

    A subclass defines `open_run`, `send` and `end_run`; the thread calls them. ``outcome`` tells
    `end_run` how the training ended: "finished", "failed" or "interrupted".

    Args:
        directory: where the two files are, such as ``logs/mine/mlflow``.
        parameters: {name: value} that the tracker shows with the run, such as the recipe.

    Raises:
        UsageError: ``directory`` is a file, or the tracker's package is not installed.
    """

    package = ""  # The module to import, and the extra of this package that installs it.
    retry_s = 30.0  # Between two attempts to reach the tracker.
    patience_s = 30.0  # For which the end of the training waits for the tracker.

    def __init__(self, directory: StrPath, *, parameters: Mapping[str, Any] | None = None) -> None:
        self._directory = pathlib.Path(local_path(directory))
        self._parameters = dict(parameters or {})
        if self._directory.is_file():
            raise UsageError(
                f"the path of a directory is wrong. Received: the file {directory}. "
                f"Expected: a directory for {type(self).__name__}."
            )
        extras.require(self.package, needed_by=type(self).__name__)
        self._journal = JsonLinesSink(self.journal)
        self.outcome: Literal["finished", "failed", "interrupted"] = "finished"
        self._step = 0
        self._run: str | None = None
        self._last: dict[str, int] = {}
        self._sender: Sender | None = None

    def open_run(self, run: str | None, *, created: Callable[[str], None]) -> dict[str, int]:
        """Open a run of the tracker.

        Args:
            run: its id; None: a new run.
            created: called with the id of a new run, before anything is sent.

        Returns:
            {name: last step that the run has}, by the names of `tracker_name`.
        """
        raise NotImplementedError

    def tracker_name(self, name: str) -> str:
        """The tracker's name of a value."""
        return name

    def lacking(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Those of a step's values that the run does not have yet, by the tracker's names."""
        named = {self.tracker_name(name): float(value) for name, value in values.items()}
        return {name: value for name, value in named.items() if step > self._last.get(name, -1)}

    def send(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Send the values of some steps, [(step, {name: value}), ...]."""
        raise NotImplementedError

    def end_run(self) -> None:
        """Mark the run as ended and close it."""
        raise NotImplementedError

    @property
    def journal(self) -> pathlib.Path:
        """The file of all values."""
        return self._directory / "steps.jsonl"

    def open(self) -> None:
        """Open the training's run of the tracker, or create it."""
        self._last = self.open_run(self._run, created=self._note_run)

    def begin(self, step: int) -> None:
        self._step = step
        self.outcome = "finished"

    def fail(self, *, interrupted: bool) -> None:
        self.outcome = "interrupted" if interrupted else "failed"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._sender is None:
            self._sender = self._begin_session(step, values)
        try:  # The journal first: a value that the tracker has is always in it.
            self._journal.write(step, values)
        finally:
            self._sender.put(step, values)

    def flush(self) -> None:
        self._journal.flush()

    def close(self) -> None:
        sender, self._sender = self._sender, None
        try:
            self._journal.close()
        finally:
            if sender is not None:
                left = sender.close(self.patience_s)
                self._store_identity(ended=True)
                if left:
                    terminal.notice(
                        f"{type(self).__name__}: steps that the tracker's run does not have: "
                        f"{left}. They are in {self.journal}, and are sent when the run is resumed."
                    )

    def _begin_session(self, step, values):
        self._run = self._run_to_continue(step, values)
        with contextlib.suppress(OSError):  # The next write raises it again.
            self._journal.begin(self._step)
        return Sender(self, read_rows(self.journal), retry_s=self.retry_s)

    def _run_to_continue(self, step, values):
        """The id of the run that these values, the first of the session, belong to, or None."""
        identity = self._identity()
        if self._step == 0 and (identity.get("ended") or not self._repeats(step, values)):
            return None
        return None if self._is_a_copy(identity) else identity.get("run")

    def _is_a_copy(self, identity):
        """Whether the directory was copied: the run belongs to the one that it was copied from."""
        original = identity.get("directory")
        if not isinstance(original, str):
            return False
        try:
            if os.path.samefile(original, self._directory):
                return False
            found = self._identity(pathlib.Path(original, self._identity_file.name))
        except OSError:  # It is gone or cannot be read: no training goes on there.
            return False
        return found.get("run") == identity.get("run")

    @property
    def _place(self):
        return os.path.realpath(self._directory)

    def _repeats(self, step, values):
        """Whether the session before, which was killed, began with the same values."""
        rows = read_rows(self.journal)
        return not rows or _comparable(*rows[0]) == _comparable(step, values)

    def _note_run(self, run):
        self._run = run
        self._store_identity(ended=False)

    @property
    def _identity_file(self):
        return self._directory / "run.json"

    def _identity(self, path=None):
        try:
            identity = json_text.parse(read_regular(path or self._identity_file))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return identity if isinstance(identity, dict) else {}

    def _store_identity(self, *, ended):
        if self._run is not None:
            identity = {"run": self._run, "ended": ended, "directory": self._place}
            storage.write_file(self._identity_file, json.dumps(identity).encode())


def _comparable(step, values):
    return step, {name: repr(float(v)) for name, v in values.items() if name != _MEASURED}
