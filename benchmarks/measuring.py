"""What the benchmarks share: running contenders in turns, and reporting the figures."""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from typing import NamedTuple

RESULTS = pathlib.Path(__file__).parent / "results"
_VECTORS = ("sse4_2", "avx", "avx2", "avx512f")  # Instructions of a processor, narrowest first.
_PACKAGES = ("tensorflow", "keras", "torch", "jax")


class Spread(NamedTuple):
    """Statistics over several rounds."""

    median: float
    least: float
    greatest: float


class Contender:
    """A process that stays alive and trains on request.

    Use it in a ``with`` statement, which ends it.

    Args:
        module: one of `benchmarks.contenders`.
        name: one of its ``CONTENDERS``.
        data_dir: the directory of the IDX files; None: `mnist_keras.data.load` finds them.

    Attributes:
        pid: of the process.
    """

    def __init__(self, module, name, data_dir):
        self._name = name
        # An unread pipe would fill up and block it.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            worker_command(module, name, data_dir),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        self.pid = self._process.pid

    def is_ready(self):
        """Wait until it has warmed up; False, with a message, if it cannot run here."""
        if self._process.stdout.readline() == "ready\n":
            return True
        leave_out(self._name, self._last_error())
        return False

    def seconds(self, epochs=1):
        """Train a number of epochs; returns seconds per epoch."""
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._name} has exited. Received: {self._last_error()}.")
        return float(answer) / epochs

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.kill()
        with self._process, self._errors:  # Closes the pipes and the file.
            self._process.wait()

    def _last_error(self):
        return last_line(self._errors)


def worker_command(module, name, data_dir):
    """The command line of a `Contender`'s process."""
    return [sys.executable, "-m", "benchmarks.worker", module, name, data_dir or ""]


@contextlib.contextmanager
def running(contenders):
    """Start all contenders, and end them at the end of the context.

    Args:
        contenders: {label: the arguments of `Contender`}.

    Returns:
        {label: `Contender`} of those that can run here.
    """
    with contextlib.ExitStack() as stack:
        started = {
            label: stack.enter_context(Contender(*arguments))
            for label, arguments in contenders.items()
        }
        yield {label: contender for label, contender in started.items() if contender.is_ready()}


def in_turns(functions, *, rounds):
    """Call every function once per round, so that changes of the machine affect all equally.

    Returns:
        {name: [result of its function in each round]}.

    >>> in_turns({"a": iter("xy").__next__, "b": iter("pq").__next__}, rounds=2)
    {'a': ['x', 'y'], 'b': ['p', 'q']}
    """
    results = {name: [] for name in functions}
    for number in range(rounds):
        for name, function in functions.items():
            results[name].append(function())
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return results


def spread(values):
    """The `Spread` of some numbers.

    >>> spread([3, 1, 5])
    Spread(median=3, least=1, greatest=5)
    """
    return Spread(statistics.median(values), min(values), max(values))


def ratios(seconds, of):
    """The `Spread` of ratios of two contenders' times, each within the same round.

    >>> ratios([2.0, 9.0, 2.0], of=[1.0, 3.0, 2.0])
    Spread(median=2.0, least=1.0, greatest=3.0)
    """
    return spread([a / b for a, b in zip(seconds, of, strict=True)])


def table(titles, rows):
    """A Markdown table.

    >>> print(table(["who", "s"], [["a", "1.0"]]))
    | who | s |
    | --- | --- |
    | a | 1.0 |
    """
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, ["---"] * len(titles), *rows])


def bars(spreads, path, *, label):
    """A chart of {name: `Spread`}, the first at the top, this package in another colour."""
    from matplotlib.figure import Figure

    names, values = list(spreads), list(spreads.values())
    figure = Figure(figsize=(9, 0.45 * len(names) + 1))
    axes = figure.subplots()
    axes.barh(
        names,
        [value.median for value in values],
        xerr=[
            [value.median - value.least for value in values],
            [value.greatest - value.median for value in values],
        ],
        color=["tab:orange" if "this package" in name else "tab:gray" for name in names],
    )
    axes.invert_yaxis()
    axes.set_xlabel(label)
    figure.savefig(path, bbox_inches="tight", dpi=100)


def leave_out(name, reason):
    """Print that a contender cannot be measured here."""
    print(f"skipped: {name}: {reason}", file=sys.stderr)


def last_line(file):
    """The last line that a process wrote to a text file."""
    file.seek(0)
    return "".join(file.read().strip().splitlines()[-1:])


def parser(description, **turns):
    """A parser of the arguments of all benchmarks; ``rounds=7`` adds a count with its default."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in turns.items():
        arguments.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    arguments.add_argument("--data_dir", help="directory of the IDX files")
    arguments.add_argument(
        "--results", type=pathlib.Path, default=RESULTS, help="directory for the JSON and the chart"
    )
    return arguments


def write_json(path, report):
    """Write a report with facts about the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **report}, indent=1) + "\n")


def machine():
    """Facts about the machine of the measurement."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, KeyError), open("/proc/cpuinfo") as lines:
        found = dict(
            re.split(r"\s*: ?", line.rstrip("\n"), maxsplit=1) for line in lines if ":" in line
        )
        widest = max(_VECTORS, key=lambda name: (name in found["flags"], _VECTORS.index(name)))
        processor = f"{found['model name']} ({widest})"
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"processor": processor, "cores": os.cpu_count(), **versions}
