"""One process of a training that may be interrupted, simulated in this process or real.

As a program: ``python -m tests.faults.interrupted FILE``. The file is a pickled
(`Training`, `Stop` or None, path for the `Ending`).
"""

import collections
import contextlib
import dataclasses
import gc
import importlib
import io
import json
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import threading
import traceback
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.console import terminal
from mnist_keras.errors import Interrupted, MnistKerasError
from tests.faults.leavings import points_in, variables_of
from tests.pipelines import PIPELINES

SEED = 0
_RECORDER = "records_the_examples"
ROOT = pathlib.Path(__file__).parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Training:
    """The settings with which every process of a training starts.

    Attributes:
        table: the module whose ``PROGRAMS`` contains the program.
        program, pipeline: their names.
        epochs: total number of epochs.
        steps_per_execution: a number or "auto".
        checkpoint_every_steps: an interval in steps; None: each epoch.
        directory: for its files; None: no callbacks and no files.
        base: the name of the model's base class, "TapeModel" or "Model".
    """

    table: str
    program: str
    pipeline: str
    epochs: int
    steps_per_execution: int | str
    checkpoint_every_steps: int | None = None
    directory: pathlib.Path | None = None
    base: str = "TapeModel"


@dataclasses.dataclass(frozen=True)
class Stop:
    """When and how a process ends.

    Attributes:
        step: the number of steps after which it ends.
        how: a key of `WAYS`.
    """

    step: int
    how: str


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        kind: "finished", "stopped", "refused" or "crashed".
        lines: the messages to the user.
        error: the error's line or its traceback.
        variables, metrics, history, points: the results of a finished training. Metrics are None
            if this process trained nothing, since each epoch resets them.
        examples: for an unseeded pipeline, the examples of each epoch.
        steps: the number of steps in all processes.
    """

    kind: str
    lines: list
    error: str = ""
    variables: dict = dataclasses.field(default_factory=dict)
    metrics: dict | None = None
    history: dict = dataclasses.field(default_factory=dict)
    points: dict = dataclasses.field(default_factory=dict)
    examples: list = dataclasses.field(default_factory=list)
    steps: int = 0


class Crash(BaseException):
    """Ends a training from inside; only this module catches it."""


def _crash():
    raise Crash


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_soon():
    """Kill at any time: in a step, while data is read, or while a checkpoint is written."""
    threading.Timer(random.SystemRandom().uniform(0, 0.1), _kill).start()


# {name: (action, whether before the checkpoint, whether at the end of an epoch)}
WAYS = {
    "an exception before a save": (_crash, True, False),
    "an exception after a save": (_crash, False, False),
    "an exception as an epoch ends": (_crash, True, True),
    "an exception between two epochs": (_crash, False, True),
    "SIGTERM": (lambda: signal.raise_signal(signal.SIGTERM), True, False),
}
WAYS_OF_PROCESSES = {
    "SIGKILL before a save": (_kill, True, False),
    "SIGKILL after a save": (_kill, False, False),
    "SIGKILL soon": (_kill_soon, False, False),
    "SIGKILL as an epoch ends": (_kill, True, True),
    "SIGKILL between two epochs": (_kill, False, True),
    "SIGTERM": WAYS["SIGTERM"],
}


class Stopper(StepCallback):
    """Ends the process according to a `Stop`."""

    def __init__(self, stop):
        super().__init__()
        self._step = stop.step
        self._act, is_before, self._waits = {**WAYS, **WAYS_OF_PROCESSES}[stop.how]
        self.priority = 0 if is_before else 3

    def breaks_execution_at(self, step):
        return step == self._step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == self._step and not self._waits:
            self._act()

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if self.step >= self._step and self._waits:
            self._act()


class ExampleRecorder(StepCallback):
    """Keeps the examples of each step in a file, however the process ends."""

    priority = 3  # After the checkpoint, which restores the step.

    def __init__(self, model, path):
        super().__init__()
        self._path = path
        train_step = model.train_step

        def recorded_step(data):
            leaves = [leaf for leaf in tf.nest.flatten(data) if leaf is not None]
            tf.numpy_function(self._record, leaves, [], name=_RECORDER)
            return train_step(data)

        model.train_step = recorded_step

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._write({"from": self.step})

    def _record(self, *leaves):
        self._write(
            [b"".join(row.tobytes() for row in rows).hex() for rows in zip(*leaves, strict=True)]
        )

    def _write(self, line):
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def examples_in(path, *, epochs):
    """[{example: how often it was seen}] for each epoch; repeated steps count once."""
    steps = {}
    for line in map(json.loads, path.read_text().splitlines()):
        if isinstance(line, dict):
            step = line["from"]
        else:
            steps[step], step = line, step + 1
    per_epoch = len(steps) // epochs
    counts = [collections.Counter() for _ in range(epochs)]
    for step, rows in steps.items():
        counts[step // per_epoch].update(rows)
    return counts


def attempt(training, stop=None, *, captures=True):
    """Run one process's part of a training, as if in a new process.

    Args:
        training: a `Training`.
        stop: a `Stop`; None: run to the end.
        captures: keep the text on stderr instead of printing it.

    Returns:
        An `Ending`.
    """
    lines, said = [], io.StringIO()
    capture = contextlib.redirect_stderr(said if captures else sys.stderr)
    with capture, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            left = _train(training, stop, lines.append)
            kind, error = "finished", ""
        except (Crash, Interrupted):
            left, kind, error = {}, "stopped", ""
        except MnistKerasError as refusal:
            left, kind, error = {}, "refused", f"{type(refusal).__name__}: {refusal}"
        except Exception:
            left, kind, error = {}, "crashed", traceback.format_exc()
    # Iterators that read ahead would otherwise use the generators of the next process.
    gc.collect()
    lines += [line for line in said.getvalue().splitlines() if line not in lines]
    return Ending(kind, _of_the_program(lines), error, **left)


def _of_the_program(lines):
    """The lines without those about the operation that records the examples."""
    return [line for line in lines if _RECORDER not in line]


def _train(training, stop, notice):
    program = importlib.import_module(training.table).PROGRAMS[training.program]
    pipeline = PIPELINES[training.pipeline]
    begin_anew(is_seeded=pipeline.is_seeded)
    model = program.make(TapeModel if training.base == "TapeModel" else keras.Model)
    model.steps_per_execution = training.steps_per_execution
    data = pipeline.fit(program.arrays(), program.batch_size, SEED)
    callbacks, path = [], None
    if training.directory is not None:
        callbacks = [
            StepLogger(training.directory, every_steps=1, echo=False),
            Checkpoint(
                training.directory / "checkpoints",
                every_steps=training.checkpoint_every_steps,
                notice=lambda line: (notice(line), terminal.notice(line)),
            ),
            GracefulShutdown(),
        ]
        if not pipeline.is_seeded:
            path = training.directory / "examples.jsonl"
            callbacks.append(ExampleRecorder(model, path))
    if stop is not None:
        callbacks.append(Stopper(stop))
    epochs = []
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: epochs.append(_)))
    history = model.fit(**data, epochs=training.epochs, verbose=0, callbacks=callbacks)
    variables, metrics = variables_of(model)
    return {
        "variables": variables,
        "metrics": metrics if epochs else None,
        "history": {"epoch": history.epoch, **history.history},
        "points": points_in(training.directory) if training.directory else {},
        "examples": examples_in(path, epochs=len(history.epoch)) if path else [],
        "steps": getattr(model, "steps_trained", 0),
    }


def begin_anew(*, is_seeded):
    """Reset the state of this process, all random generators included."""
    tf.get_logger().setLevel("ERROR")
    keras.utils.clear_session(free_memory=False)
    other = random.SystemRandom().getrandbits(31)
    random.seed(other)
    np.random.seed(other)
    tf.random.set_seed(None)
    if is_seeded:
        keras.utils.set_random_seed(SEED)


def attempt_in_a_process(training, stop=None):
    """Like `attempt`, in a real process."""
    orders, result = training.directory / "orders.pickle", training.directory / "ending.pickle"
    training.directory.mkdir(parents=True, exist_ok=True)
    orders.write_bytes(pickle.dumps((training, stop, result)))
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.faults.interrupted", str(orders)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = _of_the_program(process.stderr.splitlines())
    if result.exists():
        return dataclasses.replace(pickle.loads(result.read_bytes()), lines=lines)
    if process.returncode == -signal.SIGKILL and stop is not None:
        return Ending("stopped", lines)
    return Ending("crashed", lines, f"exit status {process.returncode}\n{process.stderr}")


def main():
    """Run the training of the file."""
    training, stop, result = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
    ending = attempt(training, stop, captures=False)
    unfinished = result.with_suffix(".unfinished")
    unfinished.write_bytes(pickle.dumps(ending))
    unfinished.rename(result)


if __name__ == "__main__":
    # Not this module's own main: pickled classes need the module's real name.
    importlib.import_module("tests.faults.interrupted").main()
