"""A profile of some steps, for TensorBoard's profiler plugin."""

import contextlib
import pathlib
from typing import Any

import tensorflow as tf

from mnist_keras.annotations import Logs, StrPath
from mnist_keras.callbacks.base import StepCallback, require_single_steps
from mnist_keras.checkpoint import backends, storage
from mnist_keras.checkpoint.backends import unavailable
from mnist_keras.checkpoint.scratch import scratch_directory
from mnist_keras.console import terminal
from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.inputs.local_path import local_path


class Profiler(StepCallback):
    """Profiles the steps ``first`` to ``last``, both included; steps count from the run's start.

    An execution of a `TapeModel` is split so that each of these steps runs by itself. The profile
    is saved in ``logdir/plugins/profile/steps_FIRST-LAST``. If training is interrupted between
    these steps, the profile so far is saved, and the resumed run saves the other steps in a second
    directory. To view it: ``pip install xprof``, then TensorBoard's page "Profile". With the torch
    backend of Keras it prints one line and writes nothing.

    Args:
        logdir: the run's directory.
        first, last: the steps' numbers, from 0.

    Raises:
        UsageError: the steps are not integers with 0 <= first <= last; or, during ``fit``, a plain
            ``keras.Model`` runs several steps per execution.
        MnistKerasError: during ``fit``, the profile cannot be written to the disk.

    Example:

    >>> import keras, numpy as np, os, tempfile
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> logdir = tempfile.mkdtemp()
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> profiler = Profiler(logdir, first=1, last=2)
    >>> history = model.fit(x, y, batch_size=2, verbose=0, callbacks=[profiler])
    >>> os.listdir(f"{logdir}/plugins/profile")
    ['steps_1-2']
    """

    def __init__(self, logdir: StrPath, *, first: int, last: int) -> None:
        super().__init__()
        are_steps = type(first) is int and type(last) is int and 0 <= first <= last
        if not are_steps:
            raise UsageError(
                f"the steps to profile are wrong. Received: {first!r} to {last!r}. "
                "Expected: two integers with 0 <= first <= last."
            )
        self._directory = pathlib.Path(local_path(logdir), "plugins", "profile")
        self._first, self._last = first, last
        self._began_at: int | None = None
        self._scratch = contextlib.ExitStack()
        self._traces: pathlib.Path | None = None
        self._trace: Any = None

    def breaks_execution_at(self, step: int) -> bool:
        """Whether step ``step`` is profiled, or is the step after the last profiled one."""
        return self._first <= step <= self._last + 1

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        if backends.name() == "torch":
            terminal.notice(unavailable("Profiler", backends="tensorflow or jax"))

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        require_single_steps(self)
        if not self._first <= self.step <= self._last or backends.name() == "torch":
            return
        if self._traces is None:
            self._began_at = self.step
            with _reported_errors(self._directory):
                self._traces = self._scratch.enter_context(scratch_directory(self._directory))
            _start(str(self._traces))
        self._trace = _step(self.step)
        self._trace.__enter__()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._end_trace()
        super().on_train_batch_end(batch, logs)
        if self.step > self._last:
            self._save()

    def close(self) -> None:
        """Save the profile so far."""
        self._end_trace()
        self._save()

    def _end_trace(self):
        trace, self._trace = self._trace, None
        if trace is not None:
            trace.__exit__(None, None, None)

    def _save(self):
        traces, self._traces = self._traces, None
        if traces is None:
            return
        target = self._directory / f"steps_{self._began_at}-{self.step - 1}"
        with self._scratch, _reported_errors(target):
            _stop()
            target.mkdir(parents=True, exist_ok=True)
            for path in traces.rglob("*.xplane.pb"):
                storage.write_file(target / path.name, path.read_bytes())


@contextlib.contextmanager
def _reported_errors(path):
    try:
        yield
    except OSError as error:
        raise MnistKerasError(
            f"the profile cannot be written: {error.strerror}. "
            f"Received: {path}. Expected: a directory with space left."
        ) from error


def _start(directory):
    if backends.name() == "jax":
        import jax

        jax.profiler.start_trace(directory)
    else:
        tf.profiler.experimental.start(directory)


def _stop():
    if backends.name() == "jax":
        import jax

        jax.profiler.stop_trace()
    else:
        tf.profiler.experimental.stop()


def _step(number):
    """A context whose time is shown as that of a step."""
    if backends.name() == "jax":
        import jax

        return jax.profiler.StepTraceAnnotation("train", step_num=number)
    return tf.profiler.experimental.Trace("train", step_num=number, _r=1)
