"""Sends a run's values to an experiment tracker, in a thread, for as long as it takes."""

import contextlib
import threading
from collections.abc import Mapping
from typing import Protocol

from mnist_keras.callbacks.sinks.guarded import reason
from mnist_keras.console import terminal

_ROWS_AT_ONCE = 100
_SHORT_S = 1.0


class Tracker(Protocol):
    """What a `Sender` sends to; the thread calls it."""

    def open(self) -> None:
        """Open the run; called again after an exception."""

    def lacking(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Those of a step's values that the run does not have yet."""

    def send(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Send the values of some steps."""

    def end_run(self) -> None:
        """End and close the run."""


class Sender:
    """Sends the values of steps in their order; after an exception it tries again.

    Args:
        tracker: where to.
        rows: [(step, values), ...] to begin with.
        retry_s: seconds from an exception to the next attempt.
    """

    def __init__(
        self,
        tracker: Tracker,
        rows: list[tuple[int, dict[str, float]]],
        *,
        retry_s: float,
    ) -> None:
        self._tracker = tracker
        self._rows: list[tuple[int, Mapping[str, float]]] = [*rows]
        self._retry_s = retry_s
        self._changed = threading.Condition()
        self._ends = self._is_abandoned = self._is_failing = self._is_open = False
        # A daemon: a tracker that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()

    def put(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of a step, as soon as possible."""
        with self._changed:
            self._rows.append((step, values))
            self._changed.notify()

    def close(self, patience_s: float) -> int:
        """Send what is left, and end the run.

        Args:
            patience_s: seconds to wait for that, if the tracker has worked so far.

        Returns:
            The number of steps that were not sent.
        """
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join(_SHORT_S if self._is_failing else patience_s)
        with self._changed:
            self._is_abandoned = True
            return len(self._rows)

    def _work(self):
        while self._wait_for_rows():
            try:
                if not self._is_open:
                    self._tracker.open()
                    self._is_open = True
                self._send()
                self._is_failing = False
            except Exception as error:
                self._fail(error)
                if self._ends:
                    return
        if self._is_open and not self._is_abandoned:
            try:
                self._tracker.end_run()
            except Exception as error:
                self._fail(error)

    def _wait_for_rows(self):
        """Wait until there is something to send; False: there will be nothing more."""
        with self._changed:
            if self._is_failing:
                self._changed.wait_for(lambda: self._ends, self._retry_s)
            self._changed.wait_for(lambda: self._rows or self._ends)
            return bool(self._rows) and not self._is_abandoned

    def _send(self):
        with self._changed:
            rows = self._rows[:_ROWS_AT_ONCE]
        lacking = [(step, self._tracker.lacking(step, values)) for step, values in rows]
        if any(values for _, values in lacking):
            self._tracker.send([(step, values) for step, values in lacking if values])
        with self._changed:
            if not self._is_abandoned:
                del self._rows[: len(rows)]

    def _fail(self, error):
        if not self._is_failing and not self._is_abandoned:
            terminal.notice(
                f"{type(self._tracker).__name__} does not reach its tracker, and tries again "
                f"later; the training continues. Received: {reason(error)}. "
                "Expected: a tracker that answers."
            )
        self._is_failing = True
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(Exception):
                self._tracker.end_run()
