"""One array whose rows lie in many files: the shards of a data set too large for one."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from mnist_keras.errors import DataError

_SHARD = re.compile(r"(.+)-([0-9]{5,})-of-([0-9]{5,})")


class Sharded:
    """Arrays one after the other, indexed like one array along the first axis.

    A slice is a `Sharded` too and reads nothing; an array of rows or a mask of them, or NumPy's
    ``asarray``, reads those rows.

    Args:
        parts: what is indexed like an array, as ``np.memmap``, of one dtype and of one
            shape but for the first axis.

    Raises:
        DataError: the parts differ.

    Example:

    >>> import numpy as np
    >>> array = Sharded([np.arange(3), np.arange(10, 12)])
    >>> array[[4, 0]], len(array[1:4]), np.asarray(array[2:])
    (array([11,  0]), 3, array([ 2, 10, 11]))
    """

    parts: tuple[Any, ...]

    def __init__(self, parts: Iterable[Any]) -> None:
        nested = (part.parts if isinstance(part, Sharded) else (part,) for part in parts)
        parts = [part for several in nested for part in several]
        forms = sorted({f"{part.dtype} (n, {part.shape[1:]})" for part in parts})
        if len(forms) != 1:
            raise DataError(
                f"the shards of an array differ. Received: {' and '.join(forms) or 'none'}. "
                "Expected: one dtype and one shape of their rows."
            )
        self.parts = tuple(parts)
        self.dtype = parts[0].dtype
        self._begins = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._begins[-1]), *parts[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """A slice of step 1, a row, an array of rows, or a mask of them."""
        if isinstance(rows, slice):
            begin, end, step = rows.indices(len(self))
            return self._slice(begin, end) if step == 1 else self[np.arange(begin, end, step)]
        chosen = np.asarray(rows)
        if chosen.dtype == bool or np.min(chosen, initial=0) < 0:
            chosen = np.arange(len(self))[chosen]
        found = np.empty((chosen.size, *self.shape[1:]), self.dtype)
        flat = np.atleast_1d(chosen)
        numbers = np.searchsorted(self._begins, flat, side="right") - 1
        for number in np.unique(numbers):
            wanted = numbers == number
            found[wanted] = self.parts[number][flat[wanted] - self._begins[number]]
        return found if chosen.ndim else found[0]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[np.arange(len(self))], dtype)

    def _slice(self, begin, end):
        bounds = zip(self.parts, self._begins[:-1], strict=True)
        parts = [part[max(begin - first, 0) : max(end - first, 0)] for part, first in bounds]
        return Sharded([part for part in parts if len(part)] or parts[:1])


class Absent:
    """Rows that lie elsewhere: an array in all but that none of them can be read.

    Args:
        shape: as of an array.
        dtype: as of an array.
        where: its name, for the error.

    Raises:
        DataError: a row is to be read.
    """

    def __init__(self, shape, dtype, where):
        self.shape, self.dtype, self._where = tuple(shape), np.dtype(dtype), where

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """A slice reads nothing."""
        if isinstance(rows, slice):
            count = len(range(*rows.indices(len(self))))
            return Absent((count, *self.shape[1:]), self.dtype, self._where)
        raise DataError(
            f"a shard that is not here is to be read. Received: no {self._where}. "
            "Expected: all shards, or those of this worker's partitions (--data_partitions)."
        )


def those_here(images, labels):
    """Of images and their labels those that can be read: all but the `Absent` ones."""
    if not isinstance(images, Sharded):
        return images, labels
    here = [not isinstance(part, Absent) for part in images.parts]
    if all(here):
        return images, labels
    rows = np.repeat(here, [len(part) for part in images.parts])
    parts = [part for part, is_here in zip(images.parts, here, strict=True) if is_here]
    return Sharded(parts or images[:0].parts), labels[rows]


def shard_name(stem, number, count):
    """The name of one shard's file, as TensorFlow's own tools give it.

    >>> shard_name("train-images-idx3-ubyte", 3, 8)
    'train-images-idx3-ubyte-00003-of-00008'
    """
    return f"{stem}-{number:05d}-of-{count:05d}"


def find_shards(names, stem):
    """Which of some files' names are shards: ({number: name}, of how many); ({}, 0): none.

    Raises:
        DataError: they are of several sets.

    >>> find_shards(["a-00001-of-00002", "b"], "a")
    ({1: 'a-00001-of-00002'}, 2)
    """
    matches = [match for name in names if (match := _SHARD.fullmatch(name)) and match[1] == stem]
    counts = sorted({int(match[3]) for match in matches})
    found = {int(match[2]): match[0] for match in sorted(matches, key=lambda match: match[0])}
    if len(counts) > 1 or any(number >= counts[0] for number in found):
        raise DataError(
            f"the shards of {stem} are no one set. Received: of {' and of '.join(map(str, counts))}"
            f", numbers to {max(found)}. Expected: one count, and numbers below it from 0."
        )
    return found, counts[0] if counts else 0
