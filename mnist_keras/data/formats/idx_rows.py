"""The rows of an IDX file that is too large for the memory, plain or gzipped."""

import os
import sys
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_keras.annotations import StrPath
from mnist_keras.data.formats.idx import fill, opened_idx, verified_form
from mnist_keras.errors import DataError

_ROWS_AT_ONCE = 1000
_UNKNOWN = sys.maxsize  # The row after a failure: every slice begins the file anew.


class IdxRows:
    """The array of one IDX file, whose rows are read when they are used.

    Opening it reads the entire file once, as a damaged one is an error at once. Slices are best
    taken in the order of the file: one before the last one begins to read it anew.

    Args:
        path: a file of one-byte values.
        check: as for `mnist_keras.data.read_idx`.

    Raises:
        DataError: as for `mnist_keras.data.read_idx`; also later, if the file changes.

    Example:

    >>> from mnist_keras.data import write_idx
    >>> write_idx("ramp-idx1-ubyte.gz", np.arange(9, dtype=np.uint8))
    >>> rows = IdxRows("ramp-idx1-ubyte.gz")
    >>> len(rows), rows[2:4], rows[:1]
    (9, array([2, 3], dtype=uint8), array([0], dtype=uint8))
    """

    def __init__(
        self,
        path: StrPath,
        *,
        check: Callable[[np.dtype[Any], tuple[int, ...]], object] | None = None,
    ) -> None:
        self._path = path
        self.dtype, self.shape = verified_form(path, check=check)
        self.ndim = len(self.shape)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._at = _UNKNOWN
        self._reader = self._read()
        next(self._reader)
        self._at = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        """The rows of a slice without gaps."""
        begin, end, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"a slice has gaps. Received: {rows}. Expected: a step of 1.")
        if begin < self._at:
            self._begin_anew()
        while self._at < begin:
            self._next(min(begin - self._at, _ROWS_AT_ONCE))
        return self._next(max(end - begin, 0))

    def _next(self, count):
        at, self._at = self._at, _UNKNOWN
        rows = self._reader.send(count)
        self._at = at + count
        return rows

    def _read(self) -> Generator[Any, int, None]:
        """Yields as many of the next rows as it is sent."""
        rows = None
        with opened_idx(self._path) as (stream, dtype, shape):
            while True:
                count = yield rows
                rows = np.empty((count, *self.shape[1:]), self.dtype)
                if (dtype, shape) != (self.dtype, self.shape) or fill(rows, stream) < rows.nbytes:
                    raise DataError(
                        f"{os.fspath(self._path)!r} has changed while it was read. Received: "
                        f"another length. Expected: {self.dtype} {self.shape}."
                    )
