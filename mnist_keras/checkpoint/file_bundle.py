"""Packs the files of a checkpoint into one bytes object, to send them to other workers."""

import io
from typing import Any

import numpy as np


def pack(files: dict[str, bytes] | None) -> bytes | None:
    """The files in one bytes object; None for None.

    >>> unpack(pack({"state.json": b"{}"}))
    {'state.json': b'{}'}
    """
    if files is None:
        return None
    packed = io.BytesIO()
    arrays: dict[str, Any] = {name: np.frombuffer(data, np.uint8) for name, data in files.items()}
    np.savez(packed, **arrays)
    return packed.getvalue()


def unpack(packed: bytes | None) -> dict[str, bytes] | None:
    """The files that `pack` packed, {name: bytes}; None for None."""
    if packed is None:
        return None
    with np.load(io.BytesIO(packed), allow_pickle=False) as files:
        return {name: files[name].tobytes() for name in files}
