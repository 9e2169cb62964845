"""Writes the values of a run's steps into a CSV file."""

import csv
import functools
from collections.abc import Iterable, Mapping

from mnist_keras.callbacks.sinks.line_file import LineSink


class CsvSink(LineSink):
    """Writes a line ``step,name,value`` for each value.

    One value on a line, because new names may appear at any step (a validation, a gradient norm):
    the header stays valid, and nothing that was written has to be written again. With pandas,
    ``frame.pivot(index="step", columns="name", values="value")`` makes a column of each name.
    Values that are not finite are ``nan``, ``inf`` and ``-inf``.

    Args:
        path: the file. A run that resumes continues it, without a step twice.

    Raises:
        UsageError: ``path`` is a directory, or a file that another program wrote.

    Example:

    >>> import os, tempfile
    >>> sink = CsvSink(os.path.join(tempfile.mkdtemp(), "steps.csv"))
    >>> sink.begin(0)
    >>> sink.write(0, {"loss": 2.5, "learning_rate": 0.1})
    >>> sink.write(100, {"loss": float("nan")})
    >>> sink.close()
    >>> print(sink.path.read_text(), end="")
    step,name,value
    0,loss,2.5
    0,learning_rate,0.1
    100,loss,nan
    """

    beginning = header = b"step,name,value\n"

    def lines(self, step: int, values: Mapping[str, float]) -> bytes:
        return "".join(
            f"{step},{_field(name)},{float(value)!r}\n" for name, value in values.items()
        ).encode()

    def read_line(self, line: bytes) -> tuple[int, Iterable[str]]:
        try:
            step, name, value = next(csv.reader([line.decode()]))
        except csv.Error as error:
            raise ValueError(str(error)) from error
        float(value)
        return int(step), (name,)


@functools.lru_cache(maxsize=1000)
def _field(name):
    """A name as a field on one line, in quotes if it needs them."""
    name = " ".join(name.splitlines())
    quoted = name.replace('"', '""')
    return f'"{quoted}"' if any(character in name for character in ',"') else name
