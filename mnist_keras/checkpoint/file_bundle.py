"""Packs files or arrays into one bytes object, to send them to other workers."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np


def pack(files: Mapping[str, bytes] | None) -> bytes | None:
    """The files in one bytes object; None for None.

    >>> unpack(pack({"state.json": b"{}"}))
    {'state.json': b'{}'}
    """
    if files is None:
        return None
    return pack_arrays({name: np.frombuffer(data, np.uint8) for name, data in files.items()})


def unpack(packed: bytes | None) -> dict[str, bytes] | None:
    """The files that `pack` packed, {name: bytes}; None for None."""
    if packed is None:
        return None
    return {name: array.tobytes() for name, array in unpack_arrays(packed).items()}


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays in one bytes object."""
    packed = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(packed, **named)
    return packed.getvalue()


def unpack_arrays(packed: bytes) -> dict[str, np.ndarray]:
    """The arrays that `pack_arrays` packed.

    Raises:
        ValueError: an array is compressed, which may take any amount of memory.
    """
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("a compressed array")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return dict(arrays)
