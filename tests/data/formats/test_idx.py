"""An IDX file is read exactly as it was written, or a DataError names it."""

import builtins
import doctest
import gzip
import os
import struct
import tracemalloc

import hypothesis
import hypothesis.extra.numpy as numpy_strategies
import numpy as np
import pytest
from hypothesis import strategies

from mnist_keras.data.formats import idx
from mnist_keras.data.formats.idx import map_idx, read_idx, sha256_idx, write_idx
from mnist_keras.errors import DataError, UsageError

DTYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")
ARRAYS = strategies.sampled_from(DTYPES).flatmap(
    lambda dtype: numpy_strategies.arrays(
        dtype,
        numpy_strategies.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5),
    )
)
FEW = hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
LABELS = np.array([5, 0, 4, 1], np.uint8)


def labels_bytes():
    return bytes([0, 0, 8, 1, 0, 0, 0, 4, 5, 0, 4, 1])


def message_of(read, path):
    with pytest.raises(DataError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@FEW
@hypothesis.given(array=ARRAYS)
def test_written_arrays_are_read_back(tmp_path, name, array):
    write_idx(tmp_path / name, array)
    again = read_idx(tmp_path / name)
    assert (again.dtype, again.shape, again.tobytes()) == (
        array.dtype,
        array.shape,
        array.tobytes(),
    )
    assert again.flags.writeable


@FEW
@hypothesis.given(array=ARRAYS)
def test_a_mapped_file_has_the_values_and_is_read_only(tmp_path, array):
    write_idx(tmp_path / "a.idx", array)
    mapped = map_idx(tmp_path / "a.idx")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


def test_the_bytes_follow_the_format(tmp_path):
    write_idx(tmp_path / "labels", LABELS)
    assert (tmp_path / "labels").read_bytes() == labels_bytes()
    write_idx(tmp_path / "wide", np.array([[1], [-2]], "<i4"))
    expected = struct.pack(">HBBIIii", 0, 0x0C, 2, 2, 1, 1, -2)
    assert (tmp_path / "wide").read_bytes() == expected


def test_gzip_bytes_do_not_depend_on_the_file_name(tmp_path):
    write_idx(tmp_path / "a.gz", LABELS)
    write_idx(tmp_path / "b.gz", LABELS)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == labels_bytes()


def test_gzip_is_recognized_by_content_not_by_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(labels_bytes())
    (tmp_path / "packed").write_bytes(gzip.compress(labels_bytes()))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), LABELS)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed"), LABELS)


def test_a_non_contiguous_array_is_written_in_index_order(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    write_idx(tmp_path / "a", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


def test_the_sum_is_of_the_uncompressed_file(tmp_path):
    import hashlib

    assert sha256_idx(LABELS) == hashlib.sha256(labels_bytes()).hexdigest()


BROKEN = {
    "empty": (b"", "is not an IDX file. Received: an empty file."),
    "text": (b"5,0,4,1\n", "is not an IDX file. Received: 35 2c 30 2c."),
    "short magic": (b"\0\0\x08", "is not an IDX file. Received: 00 00 08."),
    "unknown type": (b"\0\0\x0a\x01\0\0\0\0", "has an unknown IDX type. Received: 0x0a."),
    "rank 0": (b"\0\0\x08\x00", "has a wrong IDX rank. Received: 0."),
    "rank 255": (b"\0\0\x08\xff", "has a wrong IDX rank. Received: 255."),
    "half a header": (b"\0\0\x08\x03\0\0\0\x01", "ends within its IDX header. Received: 8 bytes."),
    "short payload": (
        labels_bytes()[:-1],
        "differs in length from its IDX header. Received: 3 bytes. Expected: 4 bytes.",
    ),
    "trailing bytes": (
        labels_bytes() + b"!",
        "differs in length from its IDX header. Received: more. Expected: 4 bytes.",
    ),
    "uncountable": (b"\0\0\x0e\x04" + b"\0" * 4 + b"\xff" * 12, "has an impossible IDX shape."),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_named_in_one_line(tmp_path, broken, packed):
    content, expected = BROKEN[broken]
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(gzip.compress(content) if packed else content)
    for read in (read_idx,) if packed else (read_idx, map_idx):
        message = message_of(read, path)
        assert message.startswith(f"{str(path)!r} {expected}")
        assert "\n" not in message


def test_a_huge_promised_size_is_refused_without_allocating(tmp_path):
    content = b"\0\0\x08\x02\0\x10\0\0\0\x10\0\0" + bytes(1 << 20)
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    tracemalloc.start()
    messages = message_of(read_idx, plain), message_of(map_idx, plain), message_of(read_idx, packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wrong_length = (
        f"{str(plain)!r} differs in length from its IDX header. Received: {1 << 20} bytes. "
        f"Expected: {1 << 40} bytes."
    )
    most = 1032 * packed.stat().st_size
    too_short = (
        f"{str(packed)!r} is too short for its IDX header. Received: {1 << 40} bytes promised by "
        f"the header. Expected: at most {most}."
    )
    assert messages == (wrong_length, wrong_length, too_short)
    assert peak < 1 << 20


def test_decompression_stops_at_the_size_in_the_header(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(labels_bytes() + bytes(64 << 20)))
    tracemalloc.start()
    message = message_of(read_idx, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "Received: more. Expected: 4 bytes." in message
    assert peak < 2 << 20


@pytest.mark.parametrize("name", ["wide", "wide.gz"])
def test_reading_takes_little_more_memory_than_the_array(tmp_path, name):
    write_idx(tmp_path / name, np.zeros((4, 1 << 20), np.int16))
    tracemalloc.start()
    array = read_idx(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * array.nbytes + (1 << 20)


def test_an_unwanted_array_is_refused_before_its_values(tmp_path):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"\0\0\x0b\x02\0\0\0\2\0\0\0\3")[:-8])

    def refuse(dtype, shape):
        raise DataError(f"{dtype} {shape}")

    with pytest.raises(DataError, match=r"^int16 \(2, 3\)$"):
        read_idx(tmp_path / "cut.gz", check=refuse)


@pytest.mark.parametrize("kept", [3, 15, -9, -1])
def test_a_truncated_gzip_is_damaged(tmp_path, kept):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(labels_bytes())[:kept])
    assert "cut.gz' is damaged. Received: " in message_of(read_idx, path)


def test_a_gzip_with_a_wrong_checksum_is_damaged(tmp_path):
    packed = bytearray(gzip.compress(labels_bytes()))
    packed[-8] ^= 1
    (tmp_path / "flipped.gz").write_bytes(packed)
    assert "flipped.gz' is damaged. Received: CRC" in message_of(read_idx, tmp_path / "flipped.gz")


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    found = {
        "missing": message_of(read_idx, tmp_path / "missing"),
        ".": message_of(read_idx, tmp_path),
        "pipe": message_of(read_idx, tmp_path / "pipe"),
    }
    (tmp_path / "locked").write_bytes(labels_bytes())

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    # permissions do not stop root, which may run this test
    monkeypatch.setattr(builtins, "open", refuse)
    found["locked"] = message_of(read_idx, tmp_path / "locked")
    expected = "Expected: a readable IDX file."
    assert found == {
        "missing": f"{str(tmp_path / 'missing')!r} cannot be read. "
        "Received: No such file or directory. Expected: a readable IDX file.",
        ".": f"{str(tmp_path)!r} cannot be read. Received: a directory. {expected}",
        "pipe": f"{str(tmp_path / 'pipe')!r} cannot be read. Received: a named pipe. {expected}",
        "locked": f"{str(tmp_path / 'locked')!r} cannot be read. "
        "Received: Permission denied. Expected: a readable IDX file.",
    }


def test_a_gzipped_file_cannot_be_mapped(tmp_path):
    write_idx(tmp_path / "a.gz", LABELS)
    assert message_of(map_idx, tmp_path / "a.gz") == (
        f"{str(tmp_path / 'a.gz')!r} cannot be mapped into memory. Received: gzip. "
        "Expected: an uncompressed IDX file."
    )


@pytest.mark.parametrize(
    "array",
    [np.float32(1), np.zeros(3, np.int64), np.zeros(3, bool), np.array(["a"]), np.array([None])],
)
def test_an_unsupported_array_is_refused_and_leaves_no_file(tmp_path, array):
    with pytest.raises(UsageError, match=r"IDX cannot hold this (dtype|shape)\. Received: "):
        write_idx(tmp_path / "a", array)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_a_failed_write_keeps_the_old_file_only(tmp_path, monkeypatch, name):
    write_idx(tmp_path / name, LABELS)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught:
        write_idx(tmp_path / name, LABELS[:1])
    assert str(caught.value) == (
        f"{str(tmp_path / name)!r} cannot be written. Received: No space left on device. "
        "Expected: a writable directory."
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(read_idx(tmp_path / name), LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@hypothesis.settings(FEW, max_examples=300)
@hypothesis.given(data=strategies.data())
def test_a_mutated_file_is_read_or_raises_a_data_error(tmp_path, packed, data):
    content = struct.pack(">HBB2I", 0, 0x0B, 2, 3, 2) + bytes(range(12))
    content = bytearray(gzip.compress(content, mtime=0) if packed else content)
    for _ in range(data.draw(strategies.integers(1, 4))):
        at = data.draw(strategies.integers(0, len(content) - 1))
        content[at : at + data.draw(strategies.integers(0, 2))] = data.draw(
            strategies.binary(max_size=3)
        )
        if not content:
            break
    path = tmp_path / "mutated"
    path.write_bytes(content)
    for read in (read_idx, map_idx):
        message, read_bytes = "", 0
        try:
            read_bytes = read(path).nbytes
        except DataError as error:
            message = str(error)
        assert read_bytes <= len(content) * 1032
        assert not message or (str(path) in message and "\n" not in message)


def test_the_real_mnist_has_its_published_sums(real_mnist):
    sums = {path.name: sha256_idx(read_idx(path)) for path in real_mnist.glob("*.gz")}
    assert sums == {
        "train-images-idx3-ubyte.gz": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte.gz": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }


def test_the_examples_in_the_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(idx, extraglobs={"np": np}).failed == 0


def test_writing_over_a_pipe_or_device_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"cannot be written\. Received: a named pipe\."):
        write_idx(tmp_path / "pipe", np.zeros(3, np.uint8))
    assert (tmp_path / "pipe").is_fifo()
