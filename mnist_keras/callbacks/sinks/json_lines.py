"""Writes the values of a run's steps into a file of JSON lines."""

import json
import math
from collections.abc import Iterable, Mapping

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.sinks.line_file import LineSink
from mnist_keras.inputs import json_text
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import open_regular

_STEPS = range(1 << 63)


class JsonLinesSink(LineSink):
    """Writes a line ``{"step": STEP, NAME: VALUE, ...}`` for each step and each end of an epoch.

    JSON has no number that is not finite. Such a value is the string "NaN", "Infinity" or
    "-Infinity", as in the JSON of protocol buffers. ``float`` and pandas read these strings.

    Args:
        path: the file. A run that resumes continues it, without a step twice.

    Raises:
        UsageError: ``path`` is a directory, or a file that another program wrote.

    Example:

    >>> import os, tempfile
    >>> sink = JsonLinesSink(os.path.join(tempfile.mkdtemp(), "steps.jsonl"))
    >>> sink.begin(0)
    >>> sink.write(0, {"loss": 2.5, "learning_rate": 0.1})
    >>> sink.write(100, {"loss": float("nan")})
    >>> sink.close()
    >>> print(sink.path.read_text(), end="")
    {"step": 0, "loss": 2.5, "learning_rate": 0.1}
    {"step": 100, "loss": "NaN"}
    """

    beginning = b'{"step": '

    def lines(self, step: int, values: Mapping[str, float]) -> bytes:
        row: dict[str, object] = {"step": step}
        for name, value in values.items():
            row.setdefault(name, _number(float(value)))
        return json.dumps(row).encode() + b"\n"

    def read_line(self, line: bytes) -> tuple[int, Iterable[str]]:
        step, values = _row(line)
        return step, values


def read_rows(path: StrPath) -> list[tuple[int, dict[str, float]]]:
    """[(step, {name: value}), ...] of a `JsonLinesSink`; without lines that a kill has cut off."""
    rows, path = [], local_path(path)
    try:
        with open_regular(path) as file:
            for line in file:
                rows.append(_row(line))
    except (FileNotFoundError, ValueError):
        pass
    return rows


def _row(line):
    row = json_text.parse(line)
    if not isinstance(row, dict) or type(row.get("step")) is not int or row["step"] not in _STEPS:
        raise ValueError("no step")
    step = row.pop("step")
    if not all(isinstance(value, (int, float, str)) for value in row.values()):
        raise ValueError("no number")
    return step, {name: float(value) for name, value in row.items()}


def _number(value):
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
