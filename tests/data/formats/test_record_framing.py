import doctest
import io
import os
import struct
import tracemalloc
import types

import pytest
import tensorflow as tf

from mnist_keras.data.formats import record_framing
from mnist_keras.data.formats.record_framing import checksum, frame, read_record, records_in

RECORDS = [b"", b"one", bytes(range(256)) * 20]


def test_tensorflow_reads_the_records_and_writes_the_same_bytes(tmp_path):
    framed = b"".join(map(frame, RECORDS))
    (tmp_path / "ours").write_bytes(framed)
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "ours"))]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert (found, (tmp_path / "theirs").read_bytes()) == (RECORDS, framed)


def test_records_are_read_up_to_the_end():
    file = io.BytesIO(b"".join(map(frame, RECORDS)))
    assert [read_record(file) for _ in range(4)] == [*RECORDS, None]


@pytest.mark.parametrize("at", range(len(frame(b"one"))))
def test_a_damaged_byte_ends_the_reading(at):
    damaged = bytearray(frame(b"one"))
    damaged[at] ^= 1
    assert read_record(io.BytesIO(damaged)) is None


@pytest.mark.parametrize("length", [1 << 40, 1 << 62, (1 << 64) - 1])
def test_a_huge_length_takes_no_memory(length):
    head = struct.pack("<Q", length)
    damaged = head + record_framing.checksum(head) + b"one"
    tracemalloc.start()
    assert read_record(io.BytesIO(damaged)) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


@pytest.mark.parametrize("size", range(len(frame(b"one"))))
def test_a_truncated_record_ends_the_reading(size):
    assert read_record(io.BytesIO(frame(b"one")[:size])) is None


def test_a_length_beyond_the_file_ends_the_reading():
    length = (2**60).to_bytes(8, "little")
    assert read_record(io.BytesIO(length + checksum(length) + b"data")) is None


@pytest.mark.parametrize("at", range(len(frame(b"one"))))
def test_records_after_a_damaged_byte_are_read(at):
    damaged = bytearray(frame(b"one"))
    damaged[at] ^= 1
    file = io.BytesIO(frame(b"") + damaged + frame(b"two") + frame(b"three")[:-1])
    assert [data for _, _, data in records_in(file)] == [b"", b"two"]


@pytest.mark.parametrize(("chunk_bytes", "window_bytes"), [(1, 1 << 26), (7, 13), (20, 20)])
def test_records_between_damaged_spots_are_found_at_their_offsets(
    chunk_bytes, window_bytes, monkeypatch
):
    monkeypatch.setattr(record_framing, "_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(record_framing, "_WINDOW_BYTES", window_bytes)
    spots, content, expected = [b"?", bytes(30), frame(b"one")[:-1], b"\1" + bytes(7)], b"", []
    for spot, data in zip(spots, [b"", b"two", bytes(40), frame(b"inside")], strict=True):
        content += spot
        expected.append((len(content), len(content) + len(frame(data)), data))
        content += frame(data)
    assert list(records_in(io.BytesIO(content))) == expected


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    read_bytes = 0

    def read(self, size=-1):
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def test_a_file_with_many_damaged_spots_is_read_twice():
    file = CountingFile((frame(b"one") + b"?") * 100)
    assert len(list(records_in(file))) == 100
    assert file.read_bytes <= 2 * len(file.getvalue())


class ShrunkFile(io.BytesIO):
    """Has lost its end since its size was found."""

    reads = 0

    def seek(self, offset, whence=os.SEEK_SET):
        return super().seek(offset, whence) + (1 << 20 if whence == os.SEEK_END else 0)

    def read(self, size=-1):
        self.reads += 1
        return super().read(size)


def test_the_search_ends_where_a_file_has_shrunk():
    file = ShrunkFile(b"?" + frame(b"one"))
    assert [data for _, _, data in records_in(file)] == [b"one"]
    assert file.reads < 10


def test_a_small_damaged_file_takes_little_memory(tmp_path):
    (tmp_path / "file").write_bytes(frame(b"one") + b"?")
    tracemalloc.start()
    with open(tmp_path / "file", "rb") as file:
        assert len(list(records_in(file))) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_lengths_that_overlap_are_checked_in_bounded_time(monkeypatch):
    heads = [struct.pack("<Q", 12 * count) for count in range(300, 0, -1)]
    content = b"".join(head + checksum(head) for head in heads)
    summed = []
    monkeypatch.setattr(record_framing, "checksum", lambda it: summed.append(it) or checksum(it))
    assert list(records_in(io.BytesIO(b"?" + content + bytes(20)))) == []
    assert sum(map(len, summed)) < 20 * len(content)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(record_framing).failed == 0


@pytest.mark.parametrize("at", [0, 4096 - 18, 4096 - 7, 1 << 20, (50 << 30) - 18])
def test_gaps_of_a_file_are_skipped_at_any_place(at, tmp_path):
    record = frame(b"ab")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(50 << 30)
        for place in {at, 20 << 30}:
            file.seek(place)
            file.write(record)
    with open(tmp_path / "sparse", "rb") as file:
        found = [(begin, data) for begin, _, data in records_in(file)]
    assert found == [(place, b"ab") for place in sorted({at, 20 << 30})]


def test_a_record_in_a_gap_takes_no_memory(tmp_path):
    head = struct.pack("<Q", 1 << 30)
    with open(tmp_path / "sparse", "wb") as file:
        file.write(head + checksum(head))
        file.truncate(2 << 30)
    tracemalloc.start()
    with open(tmp_path / "sparse", "rb") as file:
        assert list(records_in(file)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_records_after_damage_and_a_gap_are_all_found(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.write(b"?" * 4096)
        file.seek(8192)
        file.write(frame(b"ab") * 20_000)
    with open(tmp_path / "file", "rb") as file:
        assert [data for _, _, data in records_in(file)] == [b"ab"] * 20_000


def test_a_file_system_that_counts_no_blocks_loses_no_record(tmp_path, monkeypatch):
    data = bytes(17 << 20)
    (tmp_path / "file").write_bytes(frame(data))
    with open(tmp_path / "file", "rb") as file, monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lambda descriptor: types.SimpleNamespace(st_blocks=0))
        found = [data for _, _, data in records_in(file)]
    assert found == [data]


def test_a_head_that_ends_in_a_gap_is_found(tmp_path):
    heads = (struct.pack("<Q", length) for length in range(8192, 1 << 20))
    head = next(it + checksum(it) for it in heads if checksum(it).endswith(b"\0\0"))
    data = bytes(struct.unpack("<Q", head[:8])[0])
    with open(tmp_path / "file", "wb") as file:
        file.write(frame(bytes(4069)) + b"?" + head[:10])
        file.seek(2 + len(data), os.SEEK_CUR)
        file.write(checksum(data))
    with open(tmp_path / "file", "rb") as file:
        found = [data for _, _, data in records_in(file)]
    assert found == [bytes(4069), data]
