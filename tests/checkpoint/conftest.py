"""Disks that fail, and disks that keep the files of a crash at every instant."""

import errno
import os
import pathlib
import shutil

import pytest

from mnist_keras.checkpoint.storage import Disk


@pytest.fixture(autouse=True)
def synced(monkeypatch):
    """The synced inodes, in order; nothing is really synced, since that is slow."""
    inodes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: inodes.append(os.fstat(descriptor).st_ino))
    return inodes


class CountingDisk(Disk):
    """Calls ``before`` at every operation."""

    def __init__(self):
        self.names = []

    def before(self, name, path, half):
        """Called before each operation; ``half()`` does half of the operation."""

    def _begin(self, name, path, half=lambda: None):
        self.names.append(name)
        self.before(name, path, half)

    def make_directory(self, path):
        self._begin("make_directory", path)
        super().make_directory(path)

    def write(self, path, data):
        self._begin("write", path, lambda: pathlib.Path(path).write_bytes(data[: len(data) // 2]))
        super().write(path, data)

    def sync_file(self, file):
        self._begin("sync_file", file.name)
        super().sync_file(file)

    def sync_directory(self, path):
        self._begin("sync_directory", path)
        super().sync_directory(path)

    def rename(self, source, target):
        self._begin("rename", source)
        super().rename(source, target)

    def remove(self, path):
        self._begin("remove", path, lambda: _remove_one_file(path))
        super().remove(path)


class FailingDisk(CountingDisk):
    """Full at one operation, which may be done by half."""

    def __init__(self, at):
        super().__init__()
        self._at = at

    def before(self, name, path, half):
        if len(self.names) - 1 == self._at:
            half()
            raise OSError(errno.ENOSPC, "No space left on device", str(path))


class FilmedDisk(CountingDisk):
    """Keeps copies of a directory before, during and after each operation.

    A killed process leaves such a copy. In the copies in ``without_power`` the bytes of files
    that were not synced are missing, too.
    """

    def __init__(self, root, copies):
        super().__init__()
        self._root = root
        self._copies = copies
        self._synced = {path.stat().st_ino for path in _files(root)}
        self.killed, self.without_power = [], []

    def before(self, name, path, half):
        self.shoot(f"before {name}")
        if name == "write":
            half()
            self.shoot("amid write")
            os.unlink(path)
        if name == "remove":
            half()
            self.shoot("amid remove")

    def sync_file(self, file):
        super().sync_file(file)
        self._synced.add(os.fstat(file.fileno()).st_ino)

    def shoot(self, moment):
        """Keep a copy of the directory."""
        name = f"{len(self.killed):03d} {moment}"
        for kept, has_power in ((self.killed, True), (self.without_power, False)):
            copy = self._copies / f"{name} {'killed' if has_power else 'without power'}"
            shutil.copytree(self._root, copy)
            for path in () if has_power else _files(self._root):
                if path.stat().st_ino not in self._synced:
                    lost = copy / path.relative_to(self._root)
                    lost.unlink()
                    lost.touch()
            kept.append(copy)


def _files(root):
    return [path for path in root.rglob("*") if path.is_file()]


def _remove_one_file(path):
    files = _files(pathlib.Path(path))
    if files:
        files[0].unlink()


@pytest.fixture
def failing_disk():
    return FailingDisk


@pytest.fixture
def film(tmp_path):
    """film(root, action): {how the action ended: [copies of the directory]}."""

    def make(root, action):
        disk = FilmedDisk(root, tmp_path / "film")
        action(disk)
        disk.shoot("after")
        assert len(disk.killed) > 3
        return {"killed": disk.killed, "without power": disk.without_power}

    return make
