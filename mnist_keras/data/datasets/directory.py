"""The user's own directory of data: finds the files of a data set in it and reads them."""

import functools
import os

from mnist_keras.data.datasets.descriptions import describe
from mnist_keras.data.examples import Examples, require_images, require_labels
from mnist_keras.data.formats.idx import map_idx, read_idx
from mnist_keras.data.formats.npz import KEYS, read_npz
from mnist_keras.data.formats.shard_files import read_shards
from mnist_keras.errors import DataError

ROLES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
NAMES = ("mnist", "fashion_mnist", "kmnist")
_MAPPED_FROM_BYTES = 2**30


def read_directory(folder, name):
    """The data set in a directory, whose files may hold any data of the right form.

    Args:
        folder: a ``Path``.
        name: the name of the data set.

    Returns:
        (train, test), two `Examples`.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        present = set(os.listdir(folder))
    except OSError as error:
        raise DataError(
            f"The data directory cannot be read. Received: {os.fspath(folder)!r}: "
            f"{error.strerror}. Expected: a directory with {_expected_files(name)}."
        ) from error
    paths = {}
    for role in ROLES:
        names = (f"{stem}{end}" for end in ("", ".gz") for stem in spellings(role))
        found = next((spelling for spelling in names if spelling in present), None)
        if found:
            paths[role] = folder / found
    archive = next((npz for npz in _npz_names(name) if npz in present), None)
    if len(paths) < len(ROLES) and archive:
        path = folder / archive
        return halves(path, read_npz(path, check=_Forms(path, name).check_key), name)
    forms = _Forms(folder, name)
    arrays = {
        role: _read_or_map(path, check=functools.partial(forms.check, role))
        for role, path in paths.items()
    }
    for half, stems in _record_stems(name).items():
        roles = f"{half}-images", f"{half}-labels"
        if not arrays.keys() >= set(roles):
            found = _read_shards(folder, present, roles, stems, describe(name))
            arrays |= zip(roles, found, strict=False)
    if len(arrays) == len(ROLES):
        return halves(folder, [arrays[role] for role in ROLES], name)
    missing = ", ".join(spellings(role)[0] for role in ROLES if role not in arrays)
    raise DataError(
        f"The data directory lacks {missing}. Received: {os.fspath(folder)!r} with "
        f"{len(present)} entries. Expected: {_expected_files(name)}."
    )


class _Forms:
    """Refuses arrays of the wrong form before they are read, the images before their labels.

    Args:
        where: the directory or file, for the error.
        name: the name of the data set.
    """

    def __init__(self, where, name):
        self._where, self._description = where, describe(name)
        self._counts = {}

    def check_key(self, key, dtype, shape):
        """`check` for one of the keys of an .npz."""
        self.check(ROLES[KEYS.index(key)], dtype, shape)

    def check(self, role, dtype, shape):
        """Raise a DataError unless an array of this form fits one of `ROLES`."""
        half, kind = role.split("-")
        try:
            if kind == "images":
                require_images(dtype, shape, self._description)
                self._counts[half] = shape[0]
            else:
                count = self._counts.get(half, shape[0])  # Their images may be in other files.
                require_labels(dtype, shape, self._description, count=count)
        except DataError as error:
            raise DataError(f"{os.fspath(self._where)!r}: {error}") from error


def _read_or_map(path, *, check):
    """The array in the file; a large one stays in the file and is read when used."""
    # read_idx says why a path that is not a file, as a broken link, cannot be read.
    is_plain = path.suffix != ".gz" and os.path.isfile(path)
    if is_plain and path.stat().st_size >= _MAPPED_FROM_BYTES:
        array = map_idx(path)
        check(array.dtype.newbyteorder("="), array.shape)
        return array
    return read_idx(path, check=check)


def _read_shards(folder, present, roles, records, description):
    """(images, labels) of a half whose files are shards; (): there are no shards."""
    images, labels = (spellings(role)[0] for role in roles)
    for stem in records:
        found = read_shards(
            folder,
            present,
            records=stem,
            images=images,
            labels=labels,
            description=description,
            all_here=roles == ROLES[2:],  # Every worker scores the network on all test images.
        )
        if found is not None:
            return found
    return ()


def _record_stems(name):
    """{half: the names of its TFRecord files}; tensorflow_datasets writes the second one."""
    ends = {"train": "train.tfrecord", "t10k": "test.tfrecord"}
    return {half: (end, f"{name}-{end}") for half, end in ends.items()}


def spellings(role):
    """The possible names of the IDX file of one of `ROLES`, the usual one first."""
    end = "idx3-ubyte" if role.endswith("images") else "idx1-ubyte"
    return f"{role}-{end}", f"{role}.{end}"


def _npz_names(name):
    return tuple(f"{stem}.npz" for stem in dict.fromkeys((name, *NAMES)))


def _expected_files(name):
    return f"the four IDX files, .gz or not, their shards, TFRecord files, or {name}.npz"


def halves(where, arrays, name):
    """(train, test), two `Examples`, from the arrays of `ROLES`; ``where`` is for the error."""
    description = describe(name)
    try:
        train = Examples(*arrays[:2], description=description)
        test = Examples(*arrays[2:], description=description)
    except DataError as error:
        raise DataError(f"{os.fspath(where)!r}: {error}") from error
    if not len(train) or not len(test):
        raise DataError(
            f"{os.fspath(where)!r} has no examples. Received: {len(train)} for training, "
            f"{len(test)} for testing. Expected: at least one of each."
        )
    return train, test
