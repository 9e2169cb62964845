"""A text file of lines, of a run that may be killed and resumed any number of times."""

import itertools
import os
import pathlib
import threading
from collections.abc import Iterable, Mapping
from typing import IO

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.sinks.sink import Sink, outlasts
from mnist_keras.checkpoint import backends, storage
from mnist_keras.console.terminal import notice
from mnist_keras.errors import UsageError
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import NOT_REGULAR, open_regular


class LineSink(Sink):
    """Base of the sinks that write lines; a subclass says what they look like.

    A run that resumes truncates the file at the first line that it will repeat, or that a kill has
    cut off. That is one operation of the operating system, so a kill loses nothing. Each line
    reaches the operating system at once. While the disk is full, the lines are held in memory; they
    are written with the next one. A training without a `Checkpoint` keeps the file of an earlier
    one, as ``NAME-earlier-1``.

    Args:
        path: the file.

    Raises:
        UsageError: ``path`` is a directory, or a file that another program wrote.
    """

    beginning = b""  # What the first line of each such file begins with.
    header = b""

    def __init__(self, path: StrPath) -> None:
        self.path = pathlib.Path(local_path(path))
        self._file: _LineFile | None = None
        self._require_own_file()

    def lines(self, step: int, values: Mapping[str, float]) -> bytes:
        """The lines of a step, with their ends."""
        raise NotImplementedError

    def read_line(self, line: bytes) -> tuple[int, Iterable[str]]:
        """The step and the names in a line; raises ValueError if the line is damaged."""
        raise NotImplementedError

    def keep_earlier(self) -> None:
        """Rename the file of an earlier training, unless it has no values."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size > len(self.header):
            paths = (self._earlier_path(number) for number in itertools.count(1))
            target = next(path for path in paths if not path.exists())
            self.path.rename(target)
            notice(
                f"the values of an earlier training are kept in {target}: this training does not "
                f"continue it; {backends.resumable()} would."
            )

    def begin(self, step: int) -> None:
        self._file = _LineFile(self, step=step)
        self._file.write()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._file is not None:
            self._file.append(step, values)

    def flush(self) -> None:
        file = self._file  # The end of training may set it to None meanwhile.
        if file is not None:
            file.sync()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _earlier_path(self, number):
        return self.path.with_name(f"{self.path.stem}-earlier-{number}{self.path.suffix}")

    def _require_own_file(self):
        try:
            with open_regular(self.path) as file:
                begins = file.read(len(self.beginning))
        except OSError as error:
            if error.errno not in NOT_REGULAR:
                return  # The file does not exist yet, or the disk cannot be reached now.
            kind = str(error.strerror).removeprefix("a ")
            raise UsageError(
                f"the path of a file is wrong. Received: the {kind} {self.path}. "
                f"Expected: a file for {type(self).__name__}."
            ) from None
        if not self.beginning.startswith(begins):
            raise UsageError(
                f"the file is not one that {type(self).__name__} writes. Received: {self.path}. "
                f"Expected: a new file, or one that begins with {self.beginning.decode().strip()}."
            )


class _LineFile:
    """The file during one fit, which begins at a step."""

    def __init__(self, sink: LineSink, *, step: int) -> None:
        self._sink = sink
        self._step = step
        self._kept: set[str] = set()
        self._rows: list[tuple[int, Mapping[str, float]]] = []
        self._file: IO[bytes] | None = None
        self._held_back = bytearray()
        self._is_closed = self._is_placed = False
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()

    def append(self, step, values):
        with self._lock:
            self._rows.append((step, values))
            self._write()

    def write(self):
        """Write all that is held in memory.

        Raises:
            OSError: it cannot be written; it is held for the next call.
        """
        with self._lock:
            self._write()

    def sync(self):
        with self._sync_lock:
            if not self._is_closed:
                self._sync()

    def close(self):
        with self._sync_lock:
            self._is_closed = True
            try:
                self._sync()
            finally:
                if self._file is not None:
                    self._file.close()

    def _sync(self):
        self.write()
        if self._file is not None:
            # Without the lock, so that a step does not wait for the disk.
            os.fsync(self._file.fileno())
            if not self._is_placed:
                storage.sync_entries(self._sink.path.parent)
                self._is_placed = True

    def _write(self):
        if self._file is None:
            self._file = self._open()
        for step, values in self._rows:
            if step == self._step:
                values = {name: value for name, value in values.items() if name not in self._kept}
            self._held_back += self._sink.lines(step, values) if values else b""
        self._rows.clear()
        while self._held_back:  # An unbuffered write may be partial.
            del self._held_back[: self._file.write(self._held_back)]

    def _open(self):
        path = self._sink.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        end = self._find_end(path)
        os.truncate(path, end)
        self._held_back += self._sink.header if end == 0 else b""
        return open(path, "ab", buffering=0)

    def _find_end(self, path):
        """The offset of the first line that this session repeats, or that is damaged."""
        end = 0
        with open_regular(path) as file:
            for line in file:
                is_header = end == 0 and line == self._sink.header
                if not line.endswith(b"\n") or not (is_header or self._keeps(line)):
                    break
                end += len(line)
        return end

    def _keeps(self, line):
        try:
            step, names = self._sink.read_line(line)
        except ValueError:
            return False
        if step == self._step > 0 and outlasts(names):
            self._kept |= {*names}
            return True
        return step < self._step
