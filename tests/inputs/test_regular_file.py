import doctest
import hashlib
import os
import socket

import pytest

from mnist_keras.inputs import regular_file
from mnist_keras.inputs.regular_file import open_regular, read_regular


@pytest.fixture
def places(tmp_path):
    """{what an error calls it: path} of things that are not regular files."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        yield [
            ("a directory", tmp_path),
            ("a named pipe", tmp_path / "pipe"),
            ("a named pipe", tmp_path / "link"),
            ("a socket", tmp_path / "socket"),
            ("a device", "/dev/zero"),
        ]


def test_what_is_not_a_file_is_refused_at_once(places):
    for kind, path in places:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            open_regular(path)
        assert caught.value.strerror == kind
        assert caught.value.errno in regular_file.NOT_REGULAR


def test_a_pipe_that_takes_the_files_place_is_refused(places, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"7")
    as_file = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: as_file)
    with pytest.raises(OSError, match="a named pipe"):
        open_regular(tmp_path / "pipe")


def test_a_file_and_a_link_to_it_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"seven")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert [read_regular(tmp_path / name) for name in ("file", "link")] == [b"seven"] * 2
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(regular_file).failed == 0


def test_a_sparse_file_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    with pytest.raises(OSError, match="more than 67108864 bytes"):
        read_regular(tmp_path / "sparse")


def test_a_file_that_grows_is_read_up_to_the_bound(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"12345")
    small = os.stat_result((*os.stat(tmp_path / "file")[:6], 1, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda descriptor: small)
    monkeypatch.setattr(regular_file, "_PIECE_BYTES", 2)
    assert read_regular(tmp_path / "file", most_bytes=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(tmp_path / "file", most_bytes=4)


def test_the_sum_of_a_file_is_that_of_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(regular_file, "_PIECE_BYTES", 2)
    (tmp_path / "file").write_bytes(b"seven")
    assert regular_file.sha256_of(tmp_path / "file") == hashlib.sha256(b"seven").hexdigest()
    os.truncate(tmp_path / "file", 1 << 40)
    with pytest.raises(OSError, match="more than 4294967296 bytes"):
        regular_file.sha256_of(tmp_path / "file")


def test_only_a_file_may_be_replaced_by_one(tmp_path):
    (tmp_path / "file").write_text("seven")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("file", "nowhere", "new"):
        regular_file.require_replaceable(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path, "a directory"), (tmp_path / "pipe", "a named pipe")):
        with pytest.raises(OSError, match=what):
            regular_file.require_replaceable(path)
    with pytest.raises(OSError, match="a device"):
        regular_file.require_replaceable(os.devnull)
