"""The sinks of a `StepLogger`, none of which can end the training."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mnist_keras.callbacks.sinks.sink import Sink
from mnist_keras.console import terminal
from mnist_keras.errors import MnistKerasError, UsageError


class GuardedSinks:
    """Calls each of several sinks; an exception becomes one line, until the sink works again.

    Args:
        sinks: each a `Sink`.

    Raises:
        UsageError: one of them is not a `Sink`, or they are a single one.
    """

    def __init__(self, sinks: Iterable[Sink]) -> None:
        if isinstance(sinks, Sink):
            raise UsageError(
                f"the sinks are wrong. Received: {sinks!r}. Expected: a list of sinks."
            )
        self._sinks = tuple(sinks)
        self._failing: set[int] = set()
        self._is_open = False
        for sink in self._sinks:
            if not isinstance(sink, Sink):
                raise UsageError(
                    f"a sink is wrong. Received: {sink!r}. Expected: an object of a class derived "
                    "from mnist_keras.callbacks.sinks.Sink."
                )

    def begin(self, step: int, *, resumes: bool = True, has_another_model: bool = False) -> None:
        """Open the sinks, unless they are open.

        Args:
            step: the fit's first step.
            resumes: whether the fit continues a training, or would if there was a checkpoint.
            has_another_model: whether the values before it are of another model.
        """
        if not self._is_open:
            self._is_open = True
            begins_anew = (step == 0 or has_another_model) and not resumes
            self._call_each(lambda sink: _begin(sink, step, begins_anew=begins_anew))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step into each sink."""
        if values:
            self._call_each(lambda sink: sink.write(step, values))

    def flush(self) -> None:
        """Make everything written so far durable."""
        if self._is_open:
            self._call_each(lambda sink: sink.flush())

    def close(self, *, failed: bool = False) -> None:
        """Close the sinks, if they are open.

        Args:
            failed: whether an exception ended the training.
        """
        if self._is_open:
            self._is_open = False
            self._failing.clear()  # What is lost at the end is told in any case.
            if failed:
                interrupted = isinstance(sys.exc_info()[1], (KeyboardInterrupt, SystemExit))
                self._call_each(lambda sink: sink.fail(interrupted=interrupted))
            self._call_each(lambda sink: sink.close())
            self._failing.clear()

    def _call_each(self, call: Callable[[Sink], Any]) -> None:
        for number, sink in enumerate(self._sinks):
            try:
                call(sink)
            except Exception as error:
                if number not in self._failing:
                    self._failing.add(number)
                    terminal.notice(_line(sink, error))
            else:
                self._failing.discard(number)


def _begin(sink, step, *, begins_anew):
    if begins_anew:
        sink.keep_earlier()  # If it fails, the sink stays closed and the earlier values stay.
    sink.begin(step)


def _line(sink: Sink, error: Exception) -> str:
    return (
        f"{type(sink).__name__} does not work, and the training continues without it. "
        f"Received: {reason(error)}. Expected: a sink that can be written."
    )


def reason(error: Exception) -> str:
    """What an exception says, on one line of at most 300 characters."""
    text = " ".join(str(error).split())[:300]
    # Those of Python's mistakes, such as KeyError, often say only a name.
    says_enough = isinstance(error, (OSError, MnistKerasError)) and text
    return text if says_enough else f"{type(error).__name__}: {text}".removesuffix(": ")
