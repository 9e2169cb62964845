import contextlib
import errno
import itertools
import json
import os
import shutil

import pytest

from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.storage import DamagedError

OLD = {"state.npz": b"old numbers" * 9, "state.json": b'{"step": 7}'}
NEW = {"state.npz": b"the new numbers" * 11, "state.json": b'{"step": 8}'}
# 0.30000000000000004 and 0.30000000000000005 are the same number.
NEW_TREE = {f"deep/{name}": data for name, data in NEW.items()}
DESCRIPTION = {"step": 8, "metrics": {"loss": 0.1 + 0.2}}


def read_directory(path):
    return storage.read_directory(path).files if storage.directory_names(path.parent) else None


def read_file(path):
    return path.read_bytes() if path.exists() else None


def write_new(path, disk):
    storage.write_directory(path, NEW, {}, disk=disk)


def write_new_file(path, disk):
    storage.write_file(path, NEW["state.npz"], disk=disk)


def build_new(path, disk):
    def make(temporary):
        temporary.mkdir()
        (temporary / "deep").mkdir()
        for name, data in NEW.items():
            (temporary / "deep" / name).write_bytes(data)

    storage.build(path, make, disk=disk)


def build_new_file(path, disk):
    storage.build(path, lambda temporary: temporary.write_bytes(NEW["state.npz"]), disk=disk)


def read_tree(path):
    """The files of a directory, or of the one left beside it by a killed writer."""
    path = storage._where(path)
    files = [p for p in path.rglob("*") if p.is_file() and p.name != storage.MANIFEST]
    return {str(p.relative_to(path)): p.read_bytes() for p in files} or None


def remove(path, disk):
    storage.remove_directory(path, disk=disk)


# name: (prepared files, action, reader, files read before, files read after)
ACTIONS = {
    "a new directory": (None, write_new, read_directory, None, NEW),
    "a directory that replaces another": (OLD, write_new, read_directory, OLD, NEW),
    "a new file": (None, write_new_file, read_file, None, NEW["state.npz"]),
    "a file that replaces another": (b"old", write_new_file, read_file, b"old", NEW["state.npz"]),
    "a tree that is built": (None, build_new, read_tree, None, NEW_TREE),
    "a tree that is built anew": (OLD, build_new, read_tree, OLD, NEW_TREE),
    "a file that is built anew": (b"old", build_new_file, read_file, b"old", NEW["state.npz"]),
    "a directory that is removed": (OLD, remove, read_directory, OLD, None),
}


@pytest.fixture(params=ACTIONS)
def action(request, tmp_path):
    """(function that prepares the root, action(path, disk), reader, old files, new files)."""
    there, act, read, old, new = ACTIONS[request.param]
    root = tmp_path / "root"

    def prepare():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        if isinstance(there, dict):
            storage.write_directory(root / "it", there, {})
        elif there is not None:
            storage.write_file(root / "it", there)
        return root

    return prepare, act, read, old, new


def names(root):
    return sorted(entry.name for entry in root.iterdir())


@pytest.mark.parametrize("end", ["killed", "without power"])
def test_a_crash_leaves_old_or_new_files_and_cleanup_follows(end, action, film):
    prepare, act, read, old, new = action
    root = prepare()
    copies = film(root, lambda disk: act(root / "it", disk))[end]
    found = [read(copy / "it") for copy in copies]
    turn = found.index(new)
    assert found == [old] * turn + [new] * (len(found) - turn), [copy.name for copy in copies]
    for copy in copies:
        storage.remove_leftovers(copy)
        assert names(copy) == (["it"] if read(copy / "it") is not None else []), copy.name
        assert read(copy / "it") in (old, new), copy.name
        write_new(copy / "another", None)
        assert read_directory(copy / "another") == NEW


def test_a_disk_failure_keeps_the_old_or_the_new_files(action, failing_disk):
    prepare, act, read, old, new = action
    root = prepare()
    never = failing_disk(None)
    act(root / "it", never)
    assert read(root / "it") == new
    last_rename = max(i for i, name in enumerate(never.names) if name == "rename")
    for at, name in enumerate(never.names):
        root = prepare()
        # The new files are there if only the old ones cannot be removed.
        is_saved = name == "remove" and new is not None
        with (
            contextlib.nullcontext()
            if is_saved
            else pytest.raises(OSError, match="No space left on device")
        ):
            act(root / "it", failing_disk(at))
        assert read(root / "it") == (old if at <= last_rename else new), (at, name)
        if at <= last_rename:
            assert names(root) == (["it"] if old is not None else []), (at, name)
        if new is not None:
            act(root / "it", None)
            assert (names(root), read(root / "it")) == (["it"], new), (at, name)


def test_a_replaced_directory_not_moved_back_can_be_read(tmp_path, failing_disk, monkeypatch):
    storage.write_directory(tmp_path / "it", OLD, {})
    writes = 1 + 2 * 3 + 1  # directory; two files and the manifest, each synced; directory sync
    monkeypatch.setattr(storage, "_bring_back", lambda path: None)
    with pytest.raises(OSError, match="No space"):
        storage.write_directory(tmp_path / "it", NEW, {}, disk=failing_disk(writes + 1))
    assert names(tmp_path) == [".replaced-it"]
    assert read_directory(tmp_path / "it") == OLD


@pytest.fixture(params=["there", "gone"])
def linked(request, tmp_path):
    """(path of a link to a directory on another disk, that directory or None)."""
    target = tmp_path / "other disk" / "it"
    target.parent.mkdir()
    storage.write_directory(target, OLD, {})
    (tmp_path / "it").symlink_to(target)
    if request.param == "gone":
        shutil.rmtree(target)
        return tmp_path / "it", None
    return tmp_path / "it", target


def test_removing_a_link_keeps_its_target(linked):
    path, target = linked
    storage.remove_directory(path)
    assert names(path.parent) == ["other disk"]
    assert target is None or read_directory(target) == OLD


def test_replacing_a_link_keeps_its_target(linked):
    path, target = linked
    write_new(path, None)
    assert names(path.parent) == ["it", "other disk"]
    assert not path.is_symlink()
    assert read_directory(path) == NEW
    assert target is None or read_directory(target) == OLD


def test_links_among_leftovers_are_removed_without_their_targets(linked):
    path, target = linked
    path.rename(path.parent / ".unfinished-it-01234567")
    (path.parent / ".replaced-other disk").symlink_to(path.parent / "other disk")
    assert storage.remove_leftovers(path.parent) == {}
    assert names(path.parent) == ["other disk"]
    assert target is None or read_directory(target) == OLD


def test_leftovers_that_cannot_be_removed_are_returned(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    storage.write_directory(tmp_path / "it", NEW, {})
    for name in (".replaced-it", ".unfinished-it-01234567"):
        storage.write_directory(tmp_path / name, OLD, {})
    monkeypatch.setattr(shutil, "rmtree", refuse)
    failures = storage.remove_leftovers(tmp_path)
    assert {path.name: error.strerror for path, error in failures.items()} == {
        ".replaced-it": "Permission denied",
        ".unfinished-it-01234567": "Permission denied",
    }
    assert read_directory(tmp_path / "it") == NEW


def test_contents_are_synced_before_and_the_name_after_renaming(tmp_path):
    class Journal(storage.Disk):
        def __init__(self):
            self.lines = []

        def make_directory(self, path):
            self.lines.append("make")
            super().make_directory(path)

        def sync_file(self, file):
            self.lines.append(f"sync {file.name.rpartition('/')[2]}")
            super().sync_file(file)

        def sync_directory(self, path):
            self.lines.append("sync parent" if path == tmp_path else "sync directory")
            super().sync_directory(path)

        def rename(self, source, target):
            self.lines.append(f"rename to {target.name}")
            super().rename(source, target)

    disk = Journal()
    storage.write_directory(tmp_path / "it", OLD, {}, disk=disk)
    files = ["sync state.npz", "sync state.json", "sync manifest.json"]
    assert disk.lines == ["make", *files, "sync directory", "rename to it", "sync parent"]


def test_syncing_reaches_the_disk(tmp_path, synced):
    with open(tmp_path / "file", "wb") as file:
        storage.Disk().sync_file(file)
    storage.Disk().sync_directory(tmp_path)
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_missing_parents_are_created_and_synced_from_the_top(tmp_path):
    journal = []

    class Journal(storage.Disk):
        def make_directory(self, path):
            journal.append(("make", path))
            super().make_directory(path)

        def sync_directory(self, path):
            journal.append(("sync", path))
            super().sync_directory(path)

    for _ in range(2):
        storage.make_directories(tmp_path / "logs" / "run", disk=Journal())
    logs = tmp_path / "logs"
    assert journal == [
        ("make", logs),
        ("sync", tmp_path),
        ("make", logs / "run"),
        ("sync", logs),
    ]


def test_files_of_a_later_version_are_not_called_damaged(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(storage, "FORMAT", storage.FORMAT + 1)
        storage.write_directory(tmp_path / "it", NEW, DESCRIPTION)
    for read in (
        storage.read_directory,
        storage.read_manifest,
        lambda path: storage.read_member(path, "state.json"),
    ):
        with pytest.raises(storage.LaterFormatError) as caught:
            read(tmp_path / "it")
        assert str(caught.value) == (
            f"{tmp_path / 'it' / 'manifest.json'} was written by a later version of mnist_keras. "
            f"Received: format {storage.FORMAT + 1}. Expected: at most {storage.FORMAT}, "
            "or a newer mnist_keras."
        )


# Damage


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "it"
    storage.write_directory(path, {"a": b"12", "b": b""}, DESCRIPTION)
    return path


def test_written_files_are_read_back(stored):
    found = storage.read_directory(stored)
    assert (found.path, found.files, found.description) == (
        stored,
        {"a": b"12", "b": b""},
        DESCRIPTION,
    )
    manifest = json.loads((stored / "manifest.json").read_bytes())
    sha256 = "6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918"
    assert manifest["files"]["a"] == {"size": 2, "sha256": sha256}


def test_any_flipped_bit_is_detected_and_reported_in_one_line(stored):
    for path in sorted(stored.iterdir()):
        whole = path.read_bytes()
        for (offset, byte), bit in itertools.product(enumerate(whole), range(8)):
            overwrite(path, offset, byte ^ 1 << bit)
            with pytest.raises(DamagedError) as error:
                storage.read_directory(stored)
            assert str(path) in str(error.value), (path.name, offset, bit)
            assert "\n" not in str(error.value)
            overwrite(path, offset, byte)
    storage.read_directory(stored)


def test_one_file_is_read_and_verified_without_the_others(stored):
    (stored / "b").unlink()
    assert storage.read_member(stored, "a") == b"12"
    overwrite(stored / "a", 0, 0)
    with pytest.raises(DamagedError, match="a is damaged"):
        storage.read_member(stored, "a")
    for name, message in (("b", "cannot be read"), ("c", "has no c. Received: a, b. Expected: c")):
        with pytest.raises(DamagedError, match=message):
            storage.read_member(stored, name)


def test_a_file_of_another_size_is_not_read(stored):
    os.truncate(stored / "a", 1 << 40)
    with pytest.raises(DamagedError) as caught:
        storage.read_directory(stored)
    assert str(caught.value) == (
        f"{stored / 'a'} is damaged. Received: {1 << 40} bytes. Expected: 2 bytes."
    )


@pytest.mark.parametrize("name", ["a", "manifest.json"])
def test_a_pipe_in_a_checkpoint_is_damage(stored, name):
    (stored / name).unlink()
    os.mkfifo(stored / name)
    with pytest.raises(DamagedError, match=r"cannot be read\. Received: a named pipe\."):
        storage.read_directory(stored)


def overwrite(path, offset, byte):
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(bytes([byte]))


def test_files_that_the_manifest_does_not_list_are_ignored(stored):
    for name in (".DS_Store", ".nfs000000000012", "notes"):
        (stored / name).write_text("not ours")
    (stored / "thumbnails").mkdir()
    assert storage.read_directory(stored).files == {"a": b"12", "b": b""}


def test_a_file_truncated_anywhere_is_detected(stored):
    for path in sorted(stored.iterdir()):
        whole = path.read_bytes()
        for length in reversed(range(len(whole))):
            os.truncate(path, length)
            with pytest.raises(DamagedError):
                storage.read_directory(stored)
        path.write_bytes(whole)


def changed(**changes):
    """The directory's manifest with changed values and the old seal."""

    def change(path):
        manifest = json.loads((path / "manifest.json").read_bytes())
        (path / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    return change


def deeply_nested(path):
    (path / "manifest.json").write_text("[" * 100_000)


def replaced_by_a_file(path):
    shutil.rmtree(path)
    path.write_bytes(b"")


DAMAGE = {
    "a file missing": (lambda path: (path / "a").unlink(), "a cannot be read. Received: No such"),
    "a file longer": (lambda path: (path / "b").write_bytes(b"x"), "Received: 1 bytes"),
    "a file that is a directory": (
        lambda path: ((path / "a").unlink(), (path / "a").mkdir()),
        "a cannot be read. Received: a directory.",
    ),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "No such file or directory"),
    "an empty manifest": (
        lambda path: (path / "manifest.json").write_bytes(b""),
        "is not a manifest. Received: JSONDecodeError.",
    ),
    "a manifest of nothing": (changed(files={}), "Received: content with another checksum."),
    "a manifest that is a list": (
        lambda path: (path / "manifest.json").write_text("[]"),
        "is not a manifest. Received: TypeError.",
    ),
    "a size beyond all numbers": (
        changed(files={"a": {"size": float("inf"), "sha256": ""}}),
        "is not a manifest. Received: OverflowError.",
    ),
    "a manifest nested too deeply": (deeply_nested, "is not a manifest. Received: RecursionError."),
    "another format": (changed(format=2), "Received: content with another checksum."),
    "another description": (changed(description={}), "Received: content with another checksum."),
    "an empty directory": (lambda path: [f.unlink() for f in path.iterdir()], "No such file"),
    "no directory": (shutil.rmtree, "No such file or directory"),
    "a file in its place": (replaced_by_a_file, "Not a directory"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported_in_one_line(kind, stored):
    damage, message = DAMAGE[kind]
    damage(stored)
    with pytest.raises(DamagedError) as error:
        storage.read_directory(stored)
    assert message in str(error.value)
    assert str(error.value).startswith(str(stored))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../outside", "..", "/etc/passwd", "a/b", ""])
def test_a_manifest_that_lists_a_file_outside_is_damaged(name, tmp_path):
    storage.write_directory(tmp_path / "it", {}, {})
    (tmp_path / "it" / storage.MANIFEST).write_bytes(storage._manifest({name: b"theirs"}, {}))
    with pytest.raises(storage.DamagedError) as caught:
        storage.read_directory(tmp_path / "it")
    assert str(caught.value) == (
        f"{tmp_path}/it/manifest.json lists a file outside its directory. Received: {name!r}. "
        "Expected: the names of files in it."
    )


def test_a_later_format_may_list_files_in_subdirectories(tmp_path, monkeypatch):
    storage.write_directory(tmp_path / "it", {}, {})
    with monkeypatch.context() as later:
        later.setattr(storage, "FORMAT", storage.FORMAT + 1)
        (tmp_path / "it" / storage.MANIFEST).write_bytes(storage._manifest({"a/b": b""}, {}))
    with pytest.raises(storage.LaterFormatError):
        storage.read_directory(tmp_path / "it")


def test_a_file_larger_than_the_memory_is_damaged(tmp_path, monkeypatch):
    storage.write_directory(tmp_path / "it", NEW, {})
    monkeypatch.setattr(storage, "_memory_bytes", lambda: 1)
    with pytest.raises(storage.DamagedError, match="bytes, more than this machine's memory"):
        storage.read_directory(tmp_path / "it")


@pytest.mark.parametrize("write", [write_new_file, build_new_file])
def test_a_file_replaces_neither_directory_nor_pipe(write, tmp_path):
    (tmp_path / "it").mkdir()
    with pytest.raises(IsADirectoryError, match="a directory"):
        write(tmp_path / "it", None)
    (tmp_path / "it").rmdir()
    os.mkfifo(tmp_path / "it")
    with pytest.raises(OSError, match="a named pipe"):
        write(tmp_path / "it", None)
    assert names(tmp_path) == ["it"]
    assert (tmp_path / "it").is_fifo()


def test_a_file_for_which_no_memory_is_free_is_damaged(tmp_path, monkeypatch):
    def no_memory(path):
        raise MemoryError

    storage.write_directory(tmp_path / "it", NEW, {})
    monkeypatch.setattr(storage, "open_regular", no_memory)
    with pytest.raises(storage.DamagedError, match="more memory than is free"):
        storage.read_member(tmp_path / "it", "state.npz")
