"""Data sets in many files: how they are written, and how they become arrays.

The names are those that TensorFlow's tools give: ``train-images-idx3-ubyte-00003-of-00008`` and the
labels likewise, or ``train.tfrecord-00003-of-00008`` with both; the other half is ``t10k`` in IDX
files and ``test`` in TFRecord files.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mnist_keras.annotations import StrPath
from mnist_keras.data.examples import Examples
from mnist_keras.data.formats.idx import map_idx, write_idx
from mnist_keras.data.sharded import Absent, Sharded, find_shards, shard_name
from mnist_keras.errors import DataError, UsageError

# Smaller ones are read: what is in memory is cut faster.
_KEPT_BELOW_BYTES = 2**30
FORMATS = ("idx", "tfrecord")
IDX_HALVES = {"train": "train", "test": "t10k"}


def write_shards(
    directory: StrPath,
    examples: Examples,
    *,
    half: str = "train",
    count: int,
    form: str = "idx",
) -> None:
    """Write one half of a data set as so many files of as equal sizes as can be.

    The files are what ``--data_dir`` and `mnist_keras.data.load` read. Large arrays may be mapped.

    Args:
        directory: where to; it is made.
        examples: the half, `Examples`.
        half: "train" or "test".
        count: how many shards.
        form: "idx", a file of images and one of labels for each, or "tfrecord", one of both.

    Raises:
        UsageError: more shards than examples, another half or another form.
        DataError: the disk refuses.

    Example:

    >>> import os
    >>> import numpy as np
    >>> from mnist_keras.data import Examples
    >>> digits = Examples(np.zeros((6, 28, 28), np.uint8), np.arange(6, dtype=np.uint8))
    >>> write_shards("shards", digits, count=2)
    >>> sorted(os.listdir("shards"))[1:3]
    ['train-images-idx3-ubyte-00001-of-00002', 'train-labels-idx1-ubyte-00000-of-00002']
    """
    if half not in IDX_HALVES:
        raise UsageError(
            f"there is no such half of a data set. Received: {half!r}. "
            f"Expected: {' or '.join(IDX_HALVES)}."
        )
    if form not in FORMATS:
        raise UsageError(
            f"there is no such form of shards. Received: {form!r}. "
            f"Expected: {' or '.join(FORMATS)}."
        )
    if not 1 <= count <= len(examples):
        raise UsageError(
            f"the examples do not fill so many shards. Received: {count}. "
            f"Expected: 1 to {len(examples)}, the number of examples."
        )
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{os.fspath(directory)!r} cannot be made: {error.strerror}.") from error
    for number in range(count):
        begin, end = len(examples) * number // count, len(examples) * (number + 1) // count
        images, labels = examples.images[begin:end], examples.labels[begin:end]
        if form == "idx":
            prefix = IDX_HALVES[half]
            write_idx(directory / shard_name(f"{prefix}-images-idx3-ubyte", number, count), images)
            write_idx(directory / shard_name(f"{prefix}-labels-idx1-ubyte", number, count), labels)
        else:
            from mnist_keras.data.formats.tfrecord import write_tfrecord

            path = directory / shard_name(f"{half}.tfrecord", number, count)
            write_tfrecord(path, images, labels)


def read_shards(folder, names, *, records, images, labels, all_here=False):
    """(images, labels) of one half of a data set, from the shards in a directory; None: none.

    Large images stay in their files, as a `mnist_keras.data.sharded.Sharded`; the labels, uint8
    (n,), are read. Shards that are not here, as they lie on another worker's disk, have to be of
    the size of the others; their labels are taken to be 0.

    Args:
        folder: a ``Path``.
        names: of the files in it.
        records: the name of a TFRecord file of both, without the shard's number; looked for first.
        images, labels: the names of IDX files likewise.
        all_here: whether shards that are not here are an error.

    Raises:
        DataError: a file is damaged, or the shards do not go together.
    """
    found, count = find_shards(names, records)
    if records in names:
        found, count = {0: records}, 1
    if found:
        from mnist_keras.data.formats.tfrecord import TFRecordImages

        parts = {number: TFRecordImages(folder / name) for number, name in found.items()}
        _require_all_here(all_here, parts, count, records)
        return _joined(parts, {n: part.labels for n, part in parts.items()}, count, records)
    found, count = find_shards(names, images)
    if not found:
        return None
    of_labels, count_of_labels = find_shards(names, labels)
    differing = sorted(found.keys() ^ of_labels.keys())
    if differing or count != count_of_labels:
        missing = labels if differing and differing[0] in found else images
        name = shard_name(missing, differing[0] if differing else 0, count)
        raise DataError(
            f"{os.fspath(folder)!r} lacks a shard. Received: no {name}. "
            "Expected: labels for each shard of images."
        )
    _require_all_here(all_here, found, count, images)
    arrays = {number: map_idx(folder / name) for number, name in found.items()}
    return _joined(
        arrays, {n: map_idx(folder / name) for n, name in of_labels.items()}, count, images
    )


def _require_all_here(is_required, found, count, stem):
    missing = sorted(set(range(count)) - found.keys()) if is_required else []
    if missing:
        raise DataError(
            f"a shard is missing. Received: {len(found)} of {count}, no "
            f"{shard_name(stem, missing[0], count)}. Expected: all of them, on each worker."
        )


def _joined(images, labels, count, stem):
    for number, part in images.items():
        its_labels = labels[number]
        if its_labels.dtype != np.uint8 or its_labels.ndim != 1:
            raise DataError(
                f"the labels of a shard have the wrong form. Received: {its_labels.dtype.name} "
                f"{its_labels.shape} for {shard_name(stem, number, count)}. Expected: uint8 (n,)."
            )
        if len(part) != len(its_labels):
            raise DataError(
                f"a shard has another number of labels. Received: {len(its_labels)} for "
                f"{shard_name(stem, number, count)}. Expected: {len(part)}."
            )
    sizes = {len(part) for part in images.values()}
    if len(images) < count and len(sizes) > 1:
        raise DataError(
            f"shards are missing, and those that are here differ in size. Received: "
            f"{len(images)} of {count}, of {' and '.join(map(str, sorted(sizes)))} images. "
            "Expected: all of them, or equal ones."
        )
    form = next(iter(images.values()))
    parts = [
        images[n] if n in images else Absent(form.shape, form.dtype, shard_name(stem, n, count))
        for n in range(count)
    ]
    read = [labels.get(n, np.zeros(len(parts[n]), np.uint8)) for n in range(count)]
    joined: Any = Sharded(parts)
    is_small = joined.dtype.itemsize * np.prod(joined.shape, dtype=float) < _KEPT_BELOW_BYTES
    if is_small and len(images) == count:
        joined = np.asarray(joined)
    return joined, np.concatenate(read).astype(np.uint8)
