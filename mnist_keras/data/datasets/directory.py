"""The user's own directory of data: reads the files of a data set that are found in it."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path

from mnist_keras.data.datasets import places
from mnist_keras.data.datasets.descriptions import describe
from mnist_keras.data.datasets.identity import is_version, set_of_directory, sets_of
from mnist_keras.data.datasets.published import ROLES, spellings
from mnist_keras.data.datasets.search import Found, half_roles, record_stems, search
from mnist_keras.data.examples import Examples, require_images, require_labels
from mnist_keras.data.formats.idx import map_idx, read_idx
from mnist_keras.data.formats.npz import KEYS, read_npz
from mnist_keras.data.formats.shard_files import read_shards
from mnist_keras.errors import DataError

_MAPPED_FROM_BYTES = 2**30


def read_directory(
    folder: Path, name: str, *, notice: Callable[[str], object] = lambda line: None
) -> tuple[Examples, Examples]:
    """The data set in a directory, whose files may hold any data of the right form.

    Files are refused whose bytes, name or directory is known to be that of another data set. If the
    directory has no file of the data set, a subdirectory as torchvision and tensorflow_datasets
    make it is read.

    Args:
        folder: a ``Path``.
        name: the name of the data set.
        notice: receives the line that says which subdirectory is read.

    Returns:
        (train, test), two `Examples`.

    Raises:
        DataError: a file is missing or damaged, belongs to another data set, or is there twice.
    """
    found = _search(folder, name)
    if found.is_empty:
        found = _search_below(found, notice)
    found.require_unambiguous()
    if found.archive is None or len(found.idx) == len(ROLES):
        try:
            return _read_files(found)
        except _OtherSetError:
            if found.archive is None:
                raise
    forms = _Forms(found.archive, name)
    arrays = read_npz(found.archive, check=forms.check_key)
    _require_own(found.archive, sets_of(dict(zip(ROLES, arrays, strict=True)), {}), name)
    return halves(found.archive, arrays, name)


class _OtherSetError(DataError):
    """Files are those of another data set."""


def _search(folder, name):
    try:
        return search(folder, name)
    except OSError as error:
        raise DataError(
            f"The data directory cannot be read. Received: {os.fspath(folder)!r}: "
            f"{error.strerror}. Expected: a directory with {_expected_files(name)}."
        ) from error


def _search_below(found, notice):
    """What the one subdirectory has that another program made for the data set."""
    holding = _holding(places.below(found.folder, found.name), found.name)
    # Of several versions of tensorflow_datasets, only the newest is read.
    newest = {_without_version(it.folder): it for it in reversed(holding)}
    holding = [it for it in holding if it in newest.values()]
    if len(holding) > 1:
        paths = " and ".join(repr(os.fspath(it.folder)) for it in holding)
        raise DataError(
            f"The data directory has the data set {found.name} several times. Received: {paths}. "
            "Expected: the one to read, as the data directory."
        )
    if not holding:
        raise _lacking(found, ROLES)
    notice(f"{found.name} is read from {os.fspath(holding[0].folder)!r}.")
    return holding[0]


def _without_version(folder):
    return folder.parent if is_version(folder.name) else folder


def _holding(folders, name):
    found = []
    for folder in folders:
        with contextlib.suppress(OSError, DataError):
            found.append(search(folder, name))
    return [it for it in found if not it.is_empty]


def found_elsewhere(name: str) -> str:
    """Words for an error: where another program of this user keeps the data set; "" for nowhere."""
    found = next(iter(_holding(places.elsewhere(name), name)), None)
    return "" if found is None else f", or --data_dir={os.fspath(found.folder)}, where it was found"


def _lacking(found, roles):
    where, name = repr(os.fspath(found.folder)), found.name
    others = found.of_others
    if found.is_empty and others:
        file, other = next(iter(others.items()))
        return DataError(
            f"The data directory has no files of {name}, only of another data set. Received: "
            f"{file} in {where}. Expected: {_expected_files(name)}, or --dataset={other}."
        )
    missing = ", ".join(spellings(role)[0] for role in roles)
    return DataError(
        f"The data directory lacks {missing}. Received: {where} with {len(found.files)} "
        f"entries. Expected: {_expected_files(name)}{found_elsewhere(name)}."
    )


def _read_files(found: Found) -> tuple[Examples, Examples]:
    """The data set in the IDX files, shards and TFRecord files of a directory."""
    folder, name = found.folder, found.name
    forms = _Forms(folder, name)
    arrays = {
        role: _read_or_map(path, check=functools.partial(forms.check, role))
        for role, path in found.idx.items()
    }
    for half in found.parts:
        roles = half_roles(half)
        if not arrays.keys() >= set(roles):
            arrays |= zip(roles, _read_shards(found, half), strict=False)
    known = sets_of(arrays, found.idx)
    _require_own(folder, known, name)
    missing = [role for role in ROLES if role not in arrays]
    if missing:
        raise _lacking(found, missing)
    if not found.is_named and None in known.values():
        _require_own_directory(folder, name)
    return halves(folder, [arrays[role] for role in ROLES], name)


def _require_own(where, known, name):
    """Refuse files whose bytes are published as those of another data set."""
    for role, other in known.items():
        if other not in (None, name):
            raise _OtherSetError(
                f"{os.fspath(where)!r} has files of another data set. Received: the {role} of "
                f"{other}. Expected: files of {name}, or --dataset={other}."
            )


def _require_own_directory(folder, name):
    other = set_of_directory(folder)
    if other not in (None, name):
        raise _OtherSetError(
            f"The data directory is named for another data set. Received: {os.fspath(folder)!r} "
            f"for {name}. Expected: a directory of {name}, one that is not named for a data "
            f"set, or --dataset={other}."
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
        """Raise a DataError unless an array of this form fits one of ``ROLES``."""
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


def _read_shards(found, half):
    """(images, labels) of a half whose files are shards; (): there are no shards."""
    images, labels = (spellings(role)[0] for role in half_roles(half))
    for stem in record_stems(half, found.name):
        arrays = read_shards(
            found.folder,
            found.files,
            records=stem,
            images=images,
            labels=labels,
            description=describe(found.name),
            all_here=half == "t10k",  # Every worker scores the network on all test images.
        )
        if arrays is not None:
            return arrays
    return ()


def _expected_files(name):
    return f"the four IDX files, .gz or not, their shards, TFRecord files, or {name}.npz"


def halves(where, arrays, name):
    """(train, test), two `Examples`, from the arrays of ``ROLES``; ``where`` is for the error."""
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
