"""Data sets in many files: writes them and reads them as arrays.

The names follow the pattern of TensorFlow's tools: ``train-images-idx3-ubyte-00003-of-00008`` for
images and the same for labels, or ``train.tfrecord-00003-of-00008`` for both. The test half is
named ``t10k`` in IDX files and ``test`` in TFRecord files.
"""

import os
import re
from typing import Any

import numpy as np

from mnist_keras.annotations import StrPath
from mnist_keras.data.description import DEFAULT_DESCRIPTION
from mnist_keras.data.examples import Examples
from mnist_keras.data.formats.file_set import replacing_together
from mnist_keras.data.formats.idx import map_idx, write_idx
from mnist_keras.data.sharded import Absent, Sharded, find_shards, shard_name
from mnist_keras.errors import DataError, UsageError
from mnist_keras.inputs.local_path import local_path

# Smaller data sets are read into memory, which makes training faster.
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
    test: Examples | None = None,
) -> None:
    """Write one half of a data set as shards whose sizes differ by at most one example.

    ``--data_dir`` and `mnist_keras.data.load` read the files. Large arrays may be memory-mapped.
    Shards of the same names are replaced together: a process that is killed leaves all of the
    earlier ones, or all of the new ones, also where ``unfinished-move/`` still holds some of them.

    Args:
        directory: the directory of the files; it is created.
        examples: the half, `Examples`.
        half: "train" or "test".
        count: the number of shards.
        form: "idx": a file of images and a file of labels for each shard; "tfrecord": one file for
            each shard.
        test: the test half, written together with the training half, as one shard.

    Raises:
        UsageError: ``count`` exceeds the number of examples, or ``half`` or ``form`` is unknown.
        DataError: the files cannot be written, or the directory has other shards of this half.

    Example:

    >>> import os
    >>> import numpy as np
    >>> from mnist_keras.data import Examples
    >>> digits = Examples(np.zeros((6, 28, 28), np.uint8), np.arange(6, dtype=np.uint8))
    >>> write_shards("shards", digits, count=2)
    >>> sorted(os.listdir("shards"))[1:3]
    ['train-images-idx3-ubyte-00001-of-00002', 'train-labels-idx1-ubyte-00000-of-00002']
    """
    halves = {half: (examples, count)}
    if test is not None:
        if half == "test":
            raise UsageError(
                "the test half is given twice. Received: test with half='test'. "
                "Expected: test with half='train'."
            )
        halves["test"] = test, 1
    for name, (part, parts) in halves.items():
        _require_writable(part, name, parts, form)
    directory = local_path(directory)
    with replacing_together(directory) as new:
        for name, (part, parts) in halves.items():
            _write_half(directory, new, part, half=name, count=parts, form=form)


def _require_writable(examples, half, count, form):
    if half not in IDX_HALVES:
        raise UsageError(
            f"unknown half of a data set. Received: {half!r}. Expected: {' or '.join(IDX_HALVES)}."
        )
    if form not in FORMATS:
        raise UsageError(
            f"unknown form of shards. Received: {form!r}. Expected: {' or '.join(FORMATS)}."
        )
    if not 1 <= count <= len(examples):
        raise UsageError(
            f"the number of shards is wrong. Received: {count}. "
            f"Expected: 1 to {len(examples)}, the number of examples."
        )


def _write_half(directory, new, examples, *, half, count, form):
    """Write the shards of a half into ``new``, from which they will go into ``directory``."""
    prefix = IDX_HALVES[half]
    idx = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
    record = f"{half}.tfrecord"
    stems = idx if form == "idx" else [record]
    written = {shard_name(stem, number, count) for stem in stems for number in range(count)}
    _require_only(os.listdir(directory), written, half=half, where=directory)
    for number in range(count):
        begin, end = len(examples) * number // count, len(examples) * (number + 1) // count
        parts = examples.images[begin:end], examples.labels[begin:end]
        paths = [new / shard_name(stem, number, count) for stem in stems]
        if form == "idx":
            for path, part in zip(paths, parts, strict=True):
                write_idx(path, part)
        else:
            from mnist_keras.data.formats.tfrecord import write_tfrecord

            write_tfrecord(paths[0], *parts)


def _require_only(names, written, *, half, where):
    """Refuse to write a set of shards beside files of the same half, which could not be read."""
    of_half = re.compile(
        rf"{IDX_HALVES[half]}-(images[-.]idx3|labels[-.]idx1)-ubyte.*|(.+-)?{half}\.tfrecord.*|.+\.npz"
    )
    others = sorted(name for name in names if of_half.fullmatch(name) and name not in written)
    if others:
        raise DataError(
            f"the directory has other files of the same half. Received: {others[0]} in "
            f"{os.fspath(where)!r}. Expected: a directory without them."
        )


def read_shards(
    folder, files, *, records, images, labels, description=DEFAULT_DESCRIPTION, all_here=False
):
    """The images and labels of one half of a data set, from the shards in a directory.

    Large images stay in their files, as a `mnist_keras.data.sharded.Sharded`; the labels, uint8
    (n,), are read. A shard may be missing, as it is on another worker's disk. It then counts as
    large as the others, which must have the same size, and its labels are 0.

    Args:
        folder: the directory, for errors.
        files: its files, {name: path}, as `mnist_keras.data.formats.file_set.files_of` finds them.
        records: the name of a TFRecord file without the shard's number; looked for first.
        images, labels: the names of the IDX files, also without it.
        description: the `mnist_keras.data.description.DatasetDescription` for TFRecord files.
        all_here: whether a missing shard is an error.

    Returns:
        (images, labels); None: there are no shards.

    Raises:
        DataError: a file is damaged, or the shards do not belong together.
    """
    found, count = find_shards(files, records)
    if records in files:
        found, count = {0: records}, 1
    if found:
        from mnist_keras.data.formats.tfrecord import TFRecordImages

        parts = {
            number: TFRecordImages(files[name], description=description)
            for number, name in found.items()
        }
        _require_all_here(all_here, parts, count, records)
        its_labels = {number: part.labels for number, part in parts.items()}
        return _joined(parts, its_labels, count, records, description.label_dtype)
    found, count = find_shards(files, images)
    if not found:
        return None
    of_labels, count_of_labels = find_shards(files, labels)
    differing = sorted(found.keys() ^ of_labels.keys())
    if differing or count != count_of_labels:
        missing = labels if differing and differing[0] in found else images
        name = shard_name(missing, differing[0] if differing else 0, count)
        raise DataError(
            f"{os.fspath(folder)!r} lacks a shard. Received: no {name}. "
            "Expected: labels for each shard of images."
        )
    _require_all_here(all_here, found, count, images)
    arrays = {number: map_idx(files[name]) for number, name in found.items()}
    its_labels = {number: map_idx(files[name]) for number, name in of_labels.items()}
    return _joined(arrays, its_labels, count, images, description.label_dtype)


def _require_all_here(is_required, found, count, stem):
    missing = sorted(set(range(count)) - found.keys()) if is_required else []
    if missing:
        raise DataError(
            f"a shard is missing. Received: {len(found)} of {count}, no "
            f"{shard_name(stem, missing[0], count)}. Expected: all shards, on each worker."
        )


def _joined(images, labels, count, stem, label_dtype):
    for number, part in images.items():
        its_labels = labels[number]
        if its_labels.dtype.newbyteorder("=") != label_dtype or its_labels.ndim != 1:
            raise DataError(
                f"the labels of a shard have the wrong form. Received: {its_labels.dtype.name} "
                f"{its_labels.shape} for {shard_name(stem, number, count)}. "
                f"Expected: {label_dtype} (n,)."
            )
        if len(part) != len(its_labels):
            raise DataError(
                f"a shard has a wrong number of labels. Received: {len(its_labels)} for "
                f"{shard_name(stem, number, count)}. Expected: {len(part)}."
            )
    sizes = {len(part) for part in images.values()}
    if len(images) < count and len(sizes) > 1:
        raise DataError(
            f"some shards are missing, and the others differ in size. Received: "
            f"{len(images)} of {count}, of {' and '.join(map(str, sorted(sizes)))} images. "
            "Expected: all shards, or shards of equal size."
        )
    form = next(iter(images.values()))
    parts = [
        images[n] if n in images else Absent(form.shape, form.dtype, shard_name(stem, n, count))
        for n in range(count)
    ]
    read = [labels.get(n, np.zeros(len(parts[n]), label_dtype)) for n in range(count)]
    joined: Any = Sharded(parts)
    is_small = joined.dtype.itemsize * np.prod(joined.shape, dtype=float) < _KEPT_BELOW_BYTES
    if is_small and len(images) == count:
        joined = np.asarray(joined)
    return joined, np.concatenate(read).astype(label_dtype)
