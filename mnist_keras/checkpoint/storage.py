"""Durable storage: after a crash, a directory is either complete or absent.

The crash protocol:

- A directory is written under a temporary name next to its final path. Each file is written and
  synced, then ``manifest.json``, which lists every file with its size and sha256. Then the
  temporary directory itself is synced.
- The temporary directory is renamed to its final path, and the parent directory is synced.
- An old directory at that path is first renamed aside and removed last. If a crash comes between
  the two renames, readers find the old directory under the other name.
- A crash at any instant therefore leaves the complete old directory, the complete new one, or
  nothing. The next writer removes temporary directories that a crash left.
- To remove a directory, it is first renamed, so readers never see a partly removed directory. Of a
  symbolic link, the link is removed and never its target.
- Every read is checked against the manifest. Files that it does not list, such as those of a file
  browser or a network file system, are ignored.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

from mnist_keras.annotations import StrPath
from mnist_keras.errors import MnistKerasError
from mnist_keras.inputs import durable
from mnist_keras.inputs.local_path import local_path
from mnist_keras.inputs.regular_file import open_regular, read_regular, require_replaceable

MANIFEST = "manifest.json"
# Increase this when earlier versions of the package cannot read, or would misread, the manifest or
# the files of a checkpoint. This version reads all formats up to this number.
FORMAT = 2
T = TypeVar("T")
_TEMPORARY = ".unfinished-"
_ASIDE = ".replaced-"
_TEMPORARY_FORM = re.compile(rf"{re.escape(_TEMPORARY)}(?P<name>.+)-[0-9a-f]{{8}}", re.DOTALL)
_ASIDE_FORM = re.compile(rf"{re.escape(_ASIDE)}(?P<name>.+)", re.DOTALL)


class DamagedError(MnistKerasError):
    """The data on the disk differs from the data that was written."""


class LaterFormatError(MnistKerasError):
    """The data on the disk is undamaged, but a later version of this package wrote it."""


class Disk:
    """The disk operations that can fail or be interrupted; tests make each of them fail."""

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
        """Flush an open file's bytes to the disk with fsync."""
        os.fsync(file.fileno())

    def sync_directory(self, path: StrPath) -> None:
        """Flush a directory's entries to the disk with fsync, where the system can do so."""
        durable.sync_directory(path)

    def rename(self, source: StrPath, target: StrPath) -> None:
        """Rename a file or directory; a file replaces its target."""
        os.replace(source, target)

    def remove(self, path: StrPath) -> None:
        """Remove a file, a symbolic link, or a directory with its contents."""
        is_tree = os.path.isdir(path) and not os.path.islink(path)
        shutil.rmtree(path) if is_tree else os.unlink(path)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A directory that was read and passed its checks.

    Attributes:
        path: the directory's path.
        files: {name: bytes}, without the manifest.
        description: the ``description`` that was given to `write_directory`.
        manifest_sha256: of the bytes of its manifest.
    """

    path: pathlib.Path
    files: dict
    description: dict
    manifest_sha256: str


def write_directory(
    path: StrPath, files: Mapping[str, bytes], description: Any, *, disk: Disk | None = None
) -> None:
    """Write a directory so that a crash leaves it complete or absent.

    Args:
        path: the directory's final path. An existing directory is replaced; a crash leaves the old
            or the new one.
        files: {name: bytes}.
        description: further contents of the manifest, in JSON types.
        disk: the disk operations; tests pass another `Disk`.

    Raises:
        OSError: a write or a sync failed; the old or the new directory is there.
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
    """Create a file or a directory tree so that a crash leaves it complete or absent.

    Args:
        path: the final path. An existing file or directory is replaced, but not a directory by a
            file; a crash leaves the old or the new one.
        make: a function that creates it at a given temporary path in the same directory.
        disk: as for `write_directory`.

    Returns:
        The result of ``make``.

    Raises:
        OSError: as for `write_directory`. Exceptions of ``make`` are passed on; the old file or
            directory then stays.
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
    path = pathlib.Path(local_path(path))
    temporary, aside = temporary_name(path), _aside(path)
    _bring_back(path)
    try:
        result = make(temporary)
        if not temporary.is_dir():
            require_replaceable(path)
        if os.path.lexists(path) and (path.is_dir() or temporary.is_dir()):
            disk.rename(path, aside)  # A rename can only replace a file by a file.
        disk.rename(temporary, path)
    except BaseException:
        _bring_back(path)
        remove_quietly(temporary, Disk())
        raise
    disk.sync_directory(path.parent)
    if os.path.lexists(aside):
        remove_quietly(aside, disk)  # The new one is there; the next writer tries again.
    return result


def write_file(path: StrPath, data: bytes, *, disk: Disk | None = None) -> None:
    """Replace a file so that a crash leaves the complete old or the complete new file.

    Raises:
        OSError: a write or a sync failed; the old or the new file is there. IsADirectoryError and
            others: what is there is not a file.
    """
    disk = disk or Disk()
    _replace(path, lambda temporary: disk.write(temporary, data), disk)


def read_directory(path: StrPath) -> Stored:
    """Read all files of a directory and check every byte.

    Returns:
        A `Stored`.

    Raises:
        DamagedError: a file is missing, or differs in size or bytes.
    """
    directory = _where(pathlib.Path(path))
    manifest = read_manifest(directory)
    listed = manifest["files"]
    files = {name: _read_listed(directory / name, entry) for name, entry in listed.items()}
    return Stored(directory, files, manifest["description"], manifest["own_sha256"])


def read_member(path: StrPath, name: str) -> bytes:
    """Read one file of a directory and check its bytes; the other files are not read.

    Raises:
        DamagedError: the file is missing, not in the manifest, or differs in size or bytes.
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
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if entry["size"] == size > _memory_bytes():
                raise OSError(errno.EFBIG, f"{size} bytes, more than this machine's memory")
            # A file of another size may not fit into memory.
            data = file.read() if size == entry["size"] else None
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", f"{entry['size']} bytes, more memory than is free")
        raise DamagedError(
            f"{path} cannot be read. Received: {reason}. Expected: a readable file."
        ) from error
    received, expected = f"{size} bytes", f"{entry['size']} bytes"
    if data is not None:
        digest = hashlib.sha256(data).hexdigest()
        if (len(data), digest) == (entry["size"], entry["sha256"]):
            return data
        received = f"{len(data)} bytes, sha256 {digest[:12]}…"
        expected = f"{expected}, sha256 {entry['sha256'][:12]}…"
    raise DamagedError(f"{path} is damaged. Received: {received}. Expected: {expected}.")


def _memory_bytes():
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Not on Windows.
        return math.inf


def read_manifest(path):
    """Read and check a directory's manifest, {"format", "files", "description", "own_sha256"}.

    Raises:
        DamagedError: the manifest is missing or not valid.
        LaterFormatError: a later version of this package wrote it.
    """
    path = _where(pathlib.Path(path)) / MANIFEST
    try:
        data = read_regular(path)
        manifest = json.loads(data)
        entries = {
            name: {"size": int(entry["size"]), "sha256": str(entry["sha256"])}
            for name, entry in manifest["files"].items()
        }
        description, version = dict(manifest["description"]), int(manifest["format"])
        # Different texts can parse to the same number, so the bytes are compared as well.
        is_whole = manifest["sha256"] == _seal(version, entries, description) and (
            data == _text(manifest)
        )
    except OSError as error:
        raise DamagedError(
            f"{path} cannot be read. Received: {error.strerror}. Expected: a readable file."
        ) from error
    except Exception as error:  # Damaged bytes can raise exceptions of many types, in dumps too.
        raise DamagedError(
            f"{path} is not a manifest. Received: {type(error).__name__}. "
            "Expected: valid JSON with all its keys."
        ) from error
    if not is_whole:
        raise DamagedError(
            f"{path} is damaged. Received: content with another checksum. "
            "Expected: the content that was written."
        )
    if version > FORMAT:
        raise LaterFormatError(
            f"{path} was written by a later version of mnist_keras. Received: format {version}. "
            f"Expected: at most {FORMAT}, or a newer mnist_keras."
        )
    outside = [name for name in entries if not _is_name(name)]
    if outside:
        raise DamagedError(
            f"{path} lists a file outside its directory. Received: {outside[0]!r}. "
            "Expected: the names of files in it."
        )
    return {
        "format": version,
        "files": entries,
        "description": description,
        "own_sha256": hashlib.sha256(data).hexdigest(),
    }


def _is_name(name):
    return name not in ("", ".", "..") and not any(it in name for it in "/\\:\0")


def remove_directory(path, *, disk=None):
    """Remove a directory, or a link to one, so that readers never see it partly removed.

    Raises:
        OSError: it, or a part of it, cannot be removed.
    """
    disk = disk or Disk()
    path = pathlib.Path(path)
    temporary = temporary_name(path)
    disk.rename(_where(path), temporary)
    disk.remove(temporary)


def remove_leftovers(parent, *, is_own=None):
    """Remove the temporary files of killed writers; restore directories that they put aside.

    Args:
        parent: the directory. If it is a link, the directory there may be the user's.
        is_own: a function of the name of a file or directory: whether this package writes one of
            this name into ``parent``. Of a link only leftovers of such names are removed.

    Returns:
        {path: OSError} of those that could not be removed, such as another user's.
    """
    failures = {}
    is_link = os.path.islink(parent)
    for form, settle in ((_ASIDE_FORM, _settle), (_TEMPORARY_FORM, Disk().remove)):
        for entry in sorted(pathlib.Path(parent).glob(".*")):
            match = form.fullmatch(entry.name)
            if match is None or (is_link and not (is_own and is_own(match["name"]))):
                continue
            try:
                settle(entry)
            except OSError as error:
                failures[entry] = error
    return failures


def directory_names(parent):
    """The set of names in ``parent`` that `read_directory` can find."""
    return {
        entry.name.removeprefix(_ASIDE)
        for entry in pathlib.Path(parent).iterdir()
        if not entry.name.startswith(_TEMPORARY)
    }


def make_directories(path, *, disk=None):
    """Create a directory and its missing parents, and sync each so that it survives a crash.

    Raises:
        OSError: as `require_targets`, or a directory cannot be created.
    """
    disk = disk or Disk()
    require_targets(path)
    path = pathlib.Path(local_path(path)).absolute()
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            disk.make_directory(directory)
        disk.sync_directory(directory.parent)


def dangling_link(path: StrPath) -> pathlib.Path | None:
    """The link on a path, or the path itself, that leads to something that is not there, or None.

    What it leads to may be on a disk that is not mounted.
    """
    places = (pathlib.Path(path), *pathlib.Path(path).parents)
    return next((it for it in places if os.path.islink(it) and not os.path.exists(it)), None)


def require_targets(path: StrPath) -> None:
    """Refuse a path with a `dangling_link`.

    Raises:
        OSError: its ``strerror`` names the link and what it leads to.
    """
    link = dangling_link(path)
    if link is not None:
        reason = f"{link} is a link to {os.readlink(link)}, which does not exist"
        raise OSError(errno.ENOENT, reason)


def sync_entries(directory):
    """Sync the entries of a directory, and its own: it may be as new as they are."""
    for path in (directory, directory.absolute().parent):
        Disk().sync_directory(path)


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


def temporary_name(path):
    """A new name beside a path, which `remove_leftovers` removes after a kill."""
    return path.parent / f"{_TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}"


def _aside(path):
    return path.with_name(_ASIDE + path.name)


def _where(path):
    """The path to read: the one put aside if a crash came before the new directory's rename."""
    return path if path.exists() or not _aside(path).exists() else _aside(path)


def _bring_back(path):
    with contextlib.suppress(OSError):
        if os.path.lexists(_aside(path)):
            _settle(_aside(path))


def _settle(aside):
    """Move a directory that was put aside back to its path, or remove it if the path exists."""
    path = aside.with_name(aside.name.removeprefix(_ASIDE))
    if os.path.lexists(path):
        Disk().remove(aside)
    else:
        os.replace(aside, path)


def remove_quietly(path, disk=None):
    """Remove a file or a directory; if this fails, the next writer tries again."""
    with contextlib.suppress(OSError):
        (disk or Disk()).remove(path)


def _names(names):
    return ", ".join(sorted(names)) or "none"
