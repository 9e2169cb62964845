"""How bytes become durable: directories that are whole or not there.

The crash protocol. A directory is written under a temporary name beside its place: each file is
written and synced, then ``manifest.json``, which lists every file with its size and sha256, then
the temporary directory itself. Only then is it renamed into place, and the parent synced. One that
lay there before is renamed aside first and removed last; readers find it aside where a crash came
between the two renames. A crash at any instant leaves either nothing or a whole directory, the old
or the new one; what it left under a temporary name is removed by the next writer. A directory is
removed the other way round: renamed away first, so that none is ever seen half removed. What is
read is checked against its manifest.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

from mnist_keras.annotations import StrPath
from mnist_keras.errors import MnistKerasError

MANIFEST = "manifest.json"
# Rises when an earlier version of the package could not read, or would misread, what a later one
# writes: the manifest, or anything in the files of a checkpoint. All formats up to it are read.
FORMAT = 2
T = TypeVar("T")
_TEMPORARY = ".unfinished-"
_ASIDE = ".replaced-"


class DamagedError(MnistKerasError):
    """What is on the disk is not what was written."""


class LaterFormatError(MnistKerasError):
    """What is on the disk is whole, and of a version of this package that is still to come here."""


class Disk:
    """The operations that a crash or a full disk can part; tests make each of them fail."""

    def make_directory(self, path: StrPath) -> None:
        """Make a directory, which must not exist."""
        os.mkdir(path)

    def write(self, path: StrPath, data: bytes) -> None:
        """Write a new file and sync it."""
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            self.sync_file(file)

    def sync_file(self, file: IO[bytes]) -> None:
        """Bring an open file's bytes to the disk."""
        os.fsync(file.fileno())

    def sync_directory(self, path: StrPath) -> None:
        """Bring a directory's entries to the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: StrPath, target: StrPath) -> None:
        """Rename a file or directory; a file replaces its target."""
        os.replace(source, target)

    def remove(self, path: StrPath) -> None:
        """Remove a directory with all in it, or a file."""
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A directory as it was read and found whole.

    Attributes:
        path: where it lies.
        files: {name: bytes}, the manifest left out.
        description: what `write_directory` was given under that name.
    """

    path: pathlib.Path
    files: dict
    description: dict


def write_directory(
    path: StrPath, files: Mapping[str, bytes], description: Any, *, disk: Disk | None = None
) -> None:
    """Write a directory so that a crash leaves it whole or absent.

    Args:
        path: the directory's final name. One that lies there already is replaced: a crash leaves
            the old or the new one.
        files: {name: bytes}.
        description: what else the manifest is to say, as JSON takes it.
        disk: the operations; a `Disk` unless a test gives another.

    Raises:
        OSError: the disk did not take it, or may not keep it; the old or the new one is there.
    """
    disk = disk or Disk()

    def write(temporary):
        disk.make_directory(temporary)
        for name, data in files.items():
            disk.write(temporary / name, data)
        disk.write(temporary / MANIFEST, _manifest(files, description))
        disk.sync_directory(temporary)

    _replace(path, write, disk)


def build(path: StrPath, make: Callable[[pathlib.Path], T], *, disk: Disk | None = None) -> T:
    """Have a file or a directory of any depth made so that a crash leaves it whole or absent.

    Args:
        path: its final name. What lies there already is replaced: a crash leaves the old or the
            new one.
        make: a function that makes it at the path it is given, in the same directory.
        disk: as for `write_directory`.

    Returns:
        What ``make`` gave.

    Raises:
        OSError: as `write_directory`; what ``make`` raises comes out too, with the old one there.
    """
    disk = disk or Disk()

    def make_and_sync(temporary):
        result = make(temporary)
        for part in sorted([temporary, *temporary.rglob("*")], reverse=True):
            if part.is_dir():
                disk.sync_directory(part)
            else:
                with open(part, "rb") as file:
                    disk.sync_file(file)
        return result

    return _replace(path, make_and_sync, disk)


def _replace(path, make, disk):
    path = pathlib.Path(path)
    temporary, aside = _temporary_name(path), _aside(path)
    _bring_back(path)
    try:
        result = make(temporary)
        if path.exists() and (path.is_dir() or temporary.is_dir()):
            disk.rename(path, aside)  # A rename replaces nothing but a file by a file.
        disk.rename(temporary, path)
    except BaseException:
        _bring_back(path)
        _remove_quietly(temporary)
        raise
    disk.sync_directory(path.parent)
    if aside.exists():
        disk.remove(aside)
    return result


def write_file(path: StrPath, data: bytes, *, disk: Disk | None = None) -> None:
    """Replace a file so that a crash leaves the old or the new one whole.

    Raises:
        OSError: the disk did not take it, or may not keep it; the old or the new one is there.
    """
    disk = disk or Disk()
    _replace(path, lambda temporary: disk.write(temporary, data), disk)


def read_directory(path: StrPath) -> Stored:
    """Read a directory whole and check every byte of it.

    Returns:
        A `Stored`.

    Raises:
        DamagedError: a file is missing, left over, of another size or of other bytes.
    """
    directory = _where(pathlib.Path(path))
    manifest = read_manifest(directory)
    listed = manifest["files"]
    found = {entry.name for entry in directory.iterdir()} - {MANIFEST}
    if found != set(listed):
        raise DamagedError(
            f"{directory} does not hold the files of its manifest. "
            f"Received: {_names(found)}. Expected: {_names(listed)}."
        )
    files = {name: _read_listed(directory / name, entry) for name, entry in listed.items()}
    return Stored(directory, files, manifest["description"])


def read_member(path: StrPath, name: str) -> bytes:
    """Read one file of a directory and check its bytes; the others are left unread.

    Raises:
        DamagedError: it is missing, not in the manifest, of another size or of other bytes.
    """
    directory = _where(pathlib.Path(path))
    listed = read_manifest(directory)["files"]
    if name not in listed:
        raise DamagedError(
            f"{directory} has no {name}. Received: {_names(listed)}. Expected: {name}."
        )
    return _read_listed(directory / name, listed[name])


def _read_listed(path, entry):
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(data).hexdigest()
    if (len(data), digest) != (entry["size"], entry["sha256"]):
        raise DamagedError(
            f"{path} is damaged. Received: {len(data)} bytes, sha256 {digest[:12]}…. "
            f"Expected: {entry['size']} bytes, sha256 {entry['sha256'][:12]}…."
        )
    return data


def read_manifest(path):
    """A directory's manifest, checked for its form: {"format", "files", "description"}.

    Raises:
        DamagedError: it is missing, or no manifest.
        LaterFormatError: a later version of this package has written it.
    """
    path = _where(pathlib.Path(path)) / MANIFEST
    try:
        data = path.read_bytes()
        manifest = json.loads(data)
        entries = {
            name: {"size": int(entry["size"]), "sha256": str(entry["sha256"])}
            for name, entry in manifest["files"].items()
        }
        description, version = dict(manifest["description"]), int(manifest["format"])
        seal = manifest["sha256"]
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # Bytes at random fail in more ways than one can list.
        raise DamagedError(f"{path} is no manifest: {type(error).__name__}.") from error
    # Two texts of a number may have one value: the bytes themselves are compared as well.
    if seal != _seal(version, entries, description) or data != _text(manifest):
        raise DamagedError(f"{path} is damaged: its own checksum does not fit.")
    if version > FORMAT:
        raise LaterFormatError(
            f"{path} was written by a later version of mnist_keras. Received: format {version}. "
            f"Expected: at most {FORMAT}, or a newer mnist_keras."
        )
    return {"format": version, "files": entries, "description": description}


def remove_directory(path, *, disk=None):
    """Remove a directory so that none is ever seen half removed."""
    disk = disk or Disk()
    aside = _temporary_name(pathlib.Path(path))
    disk.rename(path, aside)
    disk.remove(aside)


def remove_leftovers(parent):
    """Remove what writers that were killed left; what one had put aside comes back."""
    for entry in pathlib.Path(parent).glob(_ASIDE + "*"):
        _bring_back(entry.with_name(entry.name.removeprefix(_ASIDE)))
    for entry in pathlib.Path(parent).glob(_TEMPORARY + "*"):
        _remove_quietly(entry)


def directory_names(parent):
    """The names under which `read_directory` finds something in a directory, a set."""
    return {
        entry.name.removeprefix(_ASIDE)
        for entry in pathlib.Path(parent).iterdir()
        if not entry.name.startswith(_TEMPORARY)
    }


def make_directories(path, *, disk=None):
    """Make a directory and its parents, where they are missing, so that a crash leaves them."""
    disk = disk or Disk()
    path = pathlib.Path(path).absolute()
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            disk.make_directory(directory)
        disk.sync_directory(directory.parent)


def _manifest(files, description):
    entries = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }
    manifest = {
        "format": FORMAT,
        "files": entries,
        "description": description,
        "sha256": _seal(FORMAT, entries, description),
    }
    return _text(manifest)


def _text(manifest):
    return json.dumps(manifest, indent=2).encode()


def _seal(version, entries, description):
    content = json.dumps([version, entries, description], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _temporary_name(path):
    return path.parent / f"{_TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}"


def _aside(path):
    return path.with_name(_ASIDE + path.name)


def _where(path):
    """Where a directory lies: aside, if its writer was killed before the new one took its place."""
    return path if path.exists() or not _aside(path).exists() else _aside(path)


def _bring_back(path):
    """Put a directory that was put aside back in its place, or remove it if that is taken."""
    aside = _aside(path)
    if not aside.exists():
        return
    if path.exists():
        _remove_quietly(aside)
    else:
        with contextlib.suppress(OSError):
            os.replace(aside, path)


def _remove_quietly(path):
    # Where this fails the next writer tries again; what failed before matters more.
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _names(names):
    return ", ".join(sorted(names)) or "none"
