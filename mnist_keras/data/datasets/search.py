"""Finds which files of a directory are those of a data set, without reading them."""

import os
from dataclasses import dataclass
from pathlib import Path

from mnist_keras.data.datasets.published import ROLES, SOURCES, spellings
from mnist_keras.data.formats.file_set import files_of
from mnist_keras.data.sharded import is_shard
from mnist_keras.errors import DataError

_RECORD_ENDS = {"train": "train.tfrecord", "t10k": "test.tfrecord"}


def half_roles(half: str) -> tuple[str, str]:
    """The roles of the images and the labels of "train" or "t10k"."""
    return f"{half}-images", f"{half}-labels"


def record_stems(half: str, name: str) -> tuple[str, str]:
    """The names of a half's TFRecord files; tensorflow_datasets writes the second one."""
    return _RECORD_ENDS[half], f"{name}-{_RECORD_ENDS[half]}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The files of one data set in a directory.

    Attributes:
        folder: the directory.
        name: the name of the data set.
        files: all entries of the directory, {name: path}.
        idx: {role: path} of the IDX files.
        archive: the path of the .npz, or None.
        parts: {half: the names of its TFRecord file and of the first file of each set of shards}.
    """

    folder: Path
    name: str
    files: dict[str, Path]
    idx: dict[str, Path]
    archive: Path | None
    parts: dict[str, list[str]]

    @property
    def is_empty(self) -> bool:
        """Whether the directory has no file of the data set."""
        return not (self.idx or self.archive or any(self.parts.values()))

    @property
    def of_others(self) -> dict[str, str]:
        """{file: the other data set that its name says}."""
        return {
            file: other
            for other in SOURCES
            if other != self.name
            for file in sorted(self.files)
            if file == f"{other}.npz"
            or any(_is_part(file, record_stems(half, other)[1]) for half in _RECORD_ENDS)
        }

    @property
    def is_named(self) -> bool:
        """Whether the names of the files say which data set they belong to."""
        return not self.idx and all(
            _is_part(file, record_stems(half, self.name)[1])
            for half, parts in self.parts.items()
            for file in parts
        )

    def require_unambiguous(self) -> None:
        """Refuse a directory that has a half twice, in forms of which none is preferred.

        Raises:
            DataError: it has.
        """
        for half, parts in self.parts.items():
            roles = half_roles(half)
            forms = [*parts]
            if self.idx.keys() >= set(roles):
                forms.insert(0, self.idx[roles[0]].name)
            elif self.archive and len(self.idx) < len(ROLES):
                forms.insert(0, self.archive.name)
            if len(forms) > 1:
                raise DataError(
                    f"{os.fspath(self.folder)!r} has the same half of the data set twice. "
                    f"Received: {forms[0]} and {forms[1]}. Expected: one of them."
                )


def search(folder: Path, name: str) -> Found:
    """The files of a data set in a directory.

    Raises:
        OSError: the directory cannot be read.
        DataError: several subdirectories have the same file.
    """
    files = files_of(folder)
    idx = {}
    for role in ROLES:
        names = [f"{stem}{end}" for end in ("", ".gz") for stem in spellings(role)]
        path = _first_file(folder, files, names)
        if path is not None:
            idx[role] = path
    parts = {}
    for half in _RECORD_ENDS:
        records = record_stems(half, name)
        stems = (*records, spellings(half_roles(half)[0])[0])
        shards = [min((f for f in files if is_shard(f, [stem])), default=None) for stem in stems]
        parts[half] = [file for file in (*records, *shards) if file in files]
    archive = _first_file(folder, files, [f"{name}.npz"])
    return Found(folder=folder, name=name, files=files, idx=idx, archive=archive, parts=parts)


def _is_part(file, stem):
    return file == stem or is_shard(file, [stem])


def _first_file(folder, files, names):
    """The path with the first of these names; that of a directory only if no file has any.

    Archives are unpacked into directories that have the name of the file inside.
    """
    here = [name for name in names if name in files]
    plain = [name for name in here if not os.path.isdir(files[name])]
    if plain or not here:
        return files[plain[0]] if plain else None
    inside = [
        [folder / outer / name for name in names if os.path.isfile(folder / outer / name)]
        for outer in here
    ]
    found = [paths[0] for paths in inside if paths]
    if len(found) > 1:
        raise DataError(
            f"{os.fspath(folder)!r} has the same file twice. Received: {os.fspath(found[0])!r} "
            f"and {os.fspath(found[1])!r}. Expected: one of them."
        )
    return found[0] if found else files[here[0]]
