"""A data set made larger by repeating it."""

import struct

from mnist_keras.data import write_idx


def write_repeated(directory, train, test, *, times):
    """Write the four IDX files of a data set with a repeated training set.

    Args:
        directory: a ``pathlib.Path``, which is created.
        train, test: `mnist_keras.data.Examples`.
        times: number of copies of the training set.
    """
    directory.mkdir()
    for half, array in {"train-images": train.images, "train-labels": train.labels}.items():
        shape = (times * len(array), *array.shape[1:])
        with open(directory / f"{half}-idx{array.ndim}-ubyte", "wb") as file:
            file.write(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *shape))
            for _ in range(times):
                file.write(array)
    write_idx(directory / "t10k-images-idx3-ubyte", test.images)
    write_idx(directory / "t10k-labels-idx1-ubyte", test.labels)


def those_that_fit(times, *, bytes_each, free_bytes):
    """(those of ``times`` whose files fit on the disk together, their size in bytes).

    >>> those_that_fit([1, 10, 100], bytes_each=2, free_bytes=30)
    ([1, 10], 22)
    """
    chosen, taken = [], 0
    for factor in times:
        if taken + factor * bytes_each <= free_bytes:
            chosen.append(factor)
            taken += factor * bytes_each
    return chosen, taken
