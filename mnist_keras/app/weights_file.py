"""Refuses weights of a ``.keras`` file that promise far more numbers than they hold.

A dataset of HDF5 may have any shape without a value on the disk, may be packed, or may lie in
another file. Keras allows 4 GiB for each, and reads it before it compares the shapes.
"""

import io
import math

import h5py


def require_bounded(content: bytes, *, most_bytes: int) -> None:
    """Check the weights before their values are read.

    Args:
        content: the bytes of ``model.weights.h5``.
        most_bytes: how much memory all arrays together may take.

    Raises:
        ValueError: they take more, have no numbers, lie in another file, or a group holds itself.
        OSError: it is not an HDF5 file.
    """
    declared = 0
    with h5py.File(io.BytesIO(content), "r") as file:
        groups, seen = [file], {h5py.h5o.get_info(file["/"].id).addr}
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"a link instead of weights: {name!r}")
                item = group[name]
                place = h5py.h5o.get_info(item.id).addr
                if place in seen:
                    raise ValueError(f"weights in two places, as in a circle: {item.name!r}")
                seen.add(place)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    declared += _declared_bytes(item)
                    if declared > most_bytes:
                        raise ValueError(f"weights of {declared} bytes, more than {most_bytes}")


def _declared_bytes(dataset):
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"weights in another file: {dataset.name!r}")
    if dataset.dtype.hasobject:
        raise ValueError(f"weights that are not numbers: {dataset.name!r}")
    # A packed chunk is unpacked as a whole, however small the array is.
    count = max(math.prod(dataset.shape or ()), math.prod(dataset.chunks or ()))
    return count * dataset.dtype.itemsize
