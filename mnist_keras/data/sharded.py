"""One array whose rows are in many files: the shards of a large data set."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from mnist_keras.errors import DataError

_SHARD = re.compile(r"(.+)-([0-9]{5,})-of-([0-9]{5,})")


class Sharded:
    """Arrays that are indexed like their concatenation along the first axis.

    A slice is a `Sharded` too and reads nothing. An array of row numbers, a boolean mask or
    ``np.asarray`` reads the selected rows.

    Args:
        parts: arrays, as ``np.memmap``, with the same dtype and the same shape except for the
            first axis.

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
                "Expected: the same dtype and the same shape of a row in all shards."
            )
        self.parts = tuple(parts)
        self.dtype = parts[0].dtype
        self._begins = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._begins[-1]), *parts[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """The rows of a slice, a row number, an array of row numbers, or a boolean mask."""
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
            is_in_part = numbers == number
            found[is_in_part] = self.parts[number][flat[is_in_part] - self._begins[number]]
        return found if chosen.ndim else found[0]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[np.arange(len(self))], dtype)

    def _slice(self, begin, end):
        bounds = zip(self.parts, self._begins[:-1], strict=True)
        parts = [part[max(begin - first, 0) : max(end - first, 0)] for part, first in bounds]
        return Sharded([part for part in parts if len(part)] or parts[:1])


class Absent:
    """A shard whose file is not on this machine: it has a shape and a dtype, but no data.

    Args:
        shape: the shape of the array.
        dtype: its dtype.
        where: the name of the file, for the error.

    Raises:
        DataError: a row is read.
    """

    def __init__(self, shape, dtype, where):
        self.shape, self.dtype, self._where = tuple(shape), np.dtype(dtype), where

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """A slice is an `Absent` too; anything else is an error."""
        if isinstance(rows, slice):
            count = len(range(*rows.indices(len(self))))
            return Absent((count, *self.shape[1:]), self.dtype, self._where)
        raise DataError(
            f"a shard is not on this machine. Received: no {self._where}. "
            "Expected: all shards, or those of this worker's partitions (--data_partitions)."
        )


def those_here(images, labels):
    """The images that can be read, with their labels: all but the `Absent` ones."""
    if not isinstance(images, Sharded):
        return images, labels
    here = [not isinstance(part, Absent) for part in images.parts]
    if all(here):
        return images, labels
    rows = np.repeat(here, [len(part) for part in images.parts])
    parts = [part for part, is_here in zip(images.parts, here, strict=True) if is_here]
    return Sharded(parts or images[:0].parts), labels[rows]


def shard_name(stem, number, count):
    """The name of a shard's file, in the pattern of TensorFlow's tools.

    >>> shard_name("train-images-idx3-ubyte", 3, 8)
    'train-images-idx3-ubyte-00003-of-00008'
    """
    return f"{stem}-{number:05d}-of-{count:05d}"


def is_shard(name, stems):
    """Whether a file's name is that of a shard with one of these stems.

    >>> is_shard("a-00001-of-00002", ["a"]), is_shard("a", ["a"])
    (True, False)
    """
    match = _SHARD.fullmatch(name)
    return match is not None and match[1] in stems


def find_shards(names, stem):
    """The shards among some file names.

    Returns:
        ({number: name}, the number of shards in the set); ({}, 0): there is no shard.

    Raises:
        DataError: the shards belong to several sets.

    >>> find_shards(["a-00001-of-00002", "b"], "a")
    ({1: 'a-00001-of-00002'}, 2)
    """
    matches = [match for name in names if (match := _SHARD.fullmatch(name)) and match[1] == stem]
    counts = sorted({int(match[3]) for match in matches})
    found = {int(match[2]): match[0] for match in sorted(matches, key=lambda match: match[0])}
    if len(counts) > 1 or any(number >= counts[0] for number in found):
        raise DataError(
            f"the shards of {stem} are not one set. Received: sets of "
            f"{' and '.join(map(str, counts))}, numbers up to {max(found)}. "
            "Expected: one set, with numbers from 0 to below its size."
        )
    return found, counts[0] if counts else 0
