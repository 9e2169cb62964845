import struct
import zlib

import pytest

from mnist_keras.callbacks.sinks.wandb_log import last_row, records

BLOCK = 1 << 15


def log_of(found):
    """The bytes of a file with these records, written as LevelDB's format says."""
    data = bytearray(b":W&B" + bytes(3))
    for record in found:
        is_first, rest = True, record
        while is_first or rest:
            left = BLOCK - len(data) % BLOCK
            if left < 7:
                data += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if is_first else 4) if not rest else (2 if is_first else 3)
            crc = zlib.crc32(bytes([kind]) + part)
            data += struct.pack("<IHB", crc, len(part), kind) + part
            is_first = False
    return bytes(data)


@pytest.mark.parametrize("left", range(10))
def test_records_are_read_wherever_a_block_ends(left):
    first = bytes(BLOCK - 7 - 7 - left)  # It leaves so many bytes of its block.
    expected = [first, b"second", bytes(3 * BLOCK), b"", b"last"]
    assert [*records(log_of(expected))] == expected


def test_a_file_that_was_cut_is_read_up_to_there():
    data = log_of([b"first", b"second"])
    assert [*records(data[:-1])] == [b"first"]
    assert [*records(data + bytes(100))] == [b"first", b"second"]
    assert [*records(b"")] == []


def test_a_run_without_files_has_no_row(tmp_path):
    assert last_row(tmp_path / "wandb", "abc") == -1
