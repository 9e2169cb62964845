"""Reads the files that Weights & Biases writes, ``run-ID.wandb``.

Their format is that of LevelDB's log, after a header of 7 bytes: blocks of 32 KiB, and records in
parts with a checksum, a length and a kind each
(https://github.com/google/leveldb/blob/main/doc/log_format.md). A record is a protocol buffer.
"""

import pathlib
import struct
from collections.abc import Iterator

from mnist_keras.annotations import StrPath
from mnist_keras.inputs.regular_file import read_regular

_MOST_BYTES = 1 << 32  # Of one session.
_HEADER = 7
_BLOCK = 1 << 15
_PART = struct.Struct("<IHB")
_FULL, _FIRST, _LAST = 1, 2, 4


def last_row(directory: StrPath, run: str) -> int:
    """The number of the last row in the history of a run, over all its files; -1: no row.

    Args:
        directory: W&B's directory, with one directory for each session.
        run: the run's id.
    """
    files = pathlib.Path(directory).glob(f"*run-*-{run}*/run-{run}.wandb")
    contents = (read_regular(path, most_bytes=_MOST_BYTES) for path in files)
    return max((row for content in contents for row in _rows(content)), default=-1)


def _rows(data: bytes) -> Iterator[int]:
    from wandb.proto import wandb_internal_pb2

    for record in records(data):
        history = wandb_internal_pb2.Record.FromString(record).history
        if history.item:
            yield history.step.num


def records(data: bytes) -> Iterator[bytes]:
    """The records in a file's bytes, up to the first that is not complete."""
    begin, record = _HEADER, b""
    while begin + _PART.size <= len(data):
        left = _BLOCK - begin % _BLOCK
        if left < _PART.size:
            begin += left
            continue
        _, size, kind = _PART.unpack_from(data, begin)
        begin += _PART.size
        part = data[begin : begin + size]
        if kind == 0 or len(part) < size:
            return
        begin += size
        record = part if kind in (_FULL, _FIRST) else record + part
        if kind in (_FULL, _LAST):
            yield record
