"""Run a program from start to end and measure its time and memory."""

import os
import re
import subprocess
import tempfile
import time
from typing import NamedTuple

from benchmarks import measuring


class Outcome(NamedTuple):
    """The result of a program.

    Attributes:
        seconds: from its start to its end.
        first_s: from its start to its first matching line; None without one.
        peak_mib: peak resident memory.
        lines: its printed lines.
    """

    seconds: float
    first_s: float | None
    peak_mib: float
    lines: list


def run(command, *, status=0, looks_for=None):
    """The `Outcome` of a command, a list of words.

    Its peak includes that of this process, which forks it, so this process has to be small.

    Args:
        status: the expected exit status.
        looks_for: a regular expression for the start of a line.

    Raises:
        RuntimeError: the exit status is different.
    """
    first_s, lines = None, []
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        for line in process.stdout:
            if first_s is None and looks_for is not None and re.match(looks_for, line):
                first_s = time.perf_counter() - began
            lines.append(line.rstrip("\n"))
        _, waited, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(waited)
        if process.returncode != status:
            raise RuntimeError(
                f"{command} has exited with status {process.returncode}: "
                f"{measuring.last_line(errors)}"
            )
    return Outcome(seconds, first_s, usage.ru_maxrss / 1024, lines)
