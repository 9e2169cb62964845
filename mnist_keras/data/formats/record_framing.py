"""The framing of TFRecord files; TensorBoard's event files have the same framing.

A record is the length of its data (uint64), the length's checksum (uint32), the data and their
checksum (uint32), all little-endian. A checksum is a masked CRC-32C. Format:
https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import errno
import functools
import os
import struct

import google_crc32c
import numpy as np

HEAD_BYTES, FOOT_BYTES = 12, 4
_LENGTH_BYTES = 8
_MASK = 0xA282EAD8
_CHUNK_BYTES = 1 << 20
_MESSAGE_BYTES = 1 << 31  # A record holds a protobuf message, which is smaller.
_WINDOW_BYTES = 1 << 26  # That are searched at once after damage.
# Records do not overlap, so the lengths in an honest file add up to less than its size. On the disk
# it may be smaller, because some file systems pack files.
_MOST_SUM_OF_LENGTHS = 16
_LEAST_STORED_BYTES = 1 << 20  # A small file may take no block of its own.


def frame(data):
    """The bytes of one record.

    >>> frame(b"ab").hex(" ")
    '02 00 00 00 00 00 00 00 78 27 0b 34 61 62 1c b0 f0 f4'
    """
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def read_record(file, *, most_bytes=_MESSAGE_BYTES):
    """The data of the next record in a binary file.

    Args:
        file: the file, at the beginning of the record.
        most_bytes: longer data count as damaged.

    Returns:
        bytes; None at the end of the file, and where the record is cut off or damaged.
    """
    length = data_length(file.read(HEAD_BYTES))
    if length is None or length >= min(_MESSAGE_BYTES, most_bytes):
        return None
    parts = []
    while length:  # A damaged length may be any number, and read() makes room for it at once.
        parts.append(file.read(min(length, _CHUNK_BYTES)))
        if not parts[-1]:
            return None
        length -= len(parts[-1])
    data = b"".join(parts)
    return data if file.read(FOOT_BYTES) == checksum(data) else None


def records_in(file):
    """Reads all records of a binary file, from its beginning; damaged parts are skipped.

    The time grows with the room that the file takes on the disk, whatever is in it: gaps, which
    take none, are skipped.

    Yields:
        (the offset of a record, the offset after it, its data).

    >>> import io
    >>> list(records_in(io.BytesIO(frame(b"ab") + b"?" + frame(b"c"))))
    [(0, 18, b'ab'), (19, 36, b'c')]
    """
    begin, most_bytes = 0, _MOST_SUM_OF_LENGTHS * _stored_bytes(file)
    file.seek(begin)
    while (data := read_record(file, most_bytes=most_bytes)) is not None:
        end = file.tell()
        yield begin, end, data
        begin = end
    yield from _records_among_damage(file, begin, left=most_bytes)


def is_cut_off(head, size):
    """Whether some bytes are the beginning of a record, as a killed writer leaves it.

    Args:
        head: the first `HEAD_BYTES` of them, or all.
        size: their number.

    >>> record = frame(b"ab")
    >>> is_cut_off(record[:12], len(record) - 1), is_cut_off(record[:12], len(record))
    (True, False)
    >>> is_cut_off(b"no record at", 16)
    False
    """
    length = data_length(head)
    if length is None:
        return size < HEAD_BYTES
    return size < HEAD_BYTES + length + FOOT_BYTES and length < _MESSAGE_BYTES


def _records_among_damage(file, begin, *, left):
    """The undamaged records of a binary file from an offset on, of ``left`` bytes at most."""
    size = file.seek(0, os.SEEK_END)
    while begin + HEAD_BYTES <= size:
        begin, window_bytes = _without_gap(file, begin, min(_WINDOW_BYTES, size - begin))
        file.seek(begin)
        window = file.read(window_bytes)
        if len(window) < HEAD_BYTES:  # The file has shrunk, or only a gap is left.
            return
        end = begin
        for offset, length in _heads(window):
            first, foot = begin + offset, offset + HEAD_BYTES + length
            after = begin + foot + FOOT_BYTES
            if first < end or after > size:
                continue
            left -= length
            if left < 0:
                return
            if foot + FOOT_BYTES <= len(window):
                data = window[offset + HEAD_BYTES : foot]
                is_undamaged = window[foot : foot + FOOT_BYTES] == checksum(data)
            else:
                file.seek(first)
                data = read_record(file)
                is_undamaged = data is not None
            if is_undamaged:
                end = after
                yield first, after, data
        begin = max(end, begin + len(window) - HEAD_BYTES + 1)


def _stored_bytes(file):
    """The room that a file takes on the disk, in bytes; the size of one in memory."""
    size = file.seek(0, os.SEEK_END)
    try:
        blocks = os.fstat(file.fileno()).st_blocks
    except (OSError, AttributeError):  # Windows counts no blocks.
        return size
    # Some file systems do not count them either, and say 0.
    return min(size, max(512 * blocks, _LEAST_STORED_BYTES)) if blocks else size


def _without_gap(file, begin, count):
    """The (offset, number) of the bytes to search, without the gap that they begin or end with.

    A head may begin or end in a gap: some of its bytes may be 0.
    """
    try:  # By the file, not by its descriptor: it may have read further, into its buffer.
        first = file.seek(begin, os.SEEK_DATA)
        after = file.seek(first, os.SEEK_HOLE)
    except OSError as error:
        return begin, 0 if error.errno == errno.ENXIO else count  # ENXIO: only a gap is left.
    except (AttributeError, ValueError):  # Windows, and a file in memory.
        return begin, count
    first = max(begin, first - HEAD_BYTES + 1)
    return first, min(_WINDOW_BYTES, after - first + HEAD_BYTES - 1)  # Or it ends in a gap.


def _heads(content):
    """(offset, length of the data) of each undamaged head of a record below 4 GiB, in order."""
    for first in range(0, len(content), _CHUNK_BYTES):
        part = np.frombuffer(content[first : first + _CHUNK_BYTES + HEAD_BYTES - 1], np.uint8)
        if len(part) < HEAD_BYTES or part.max() == 0:  # A length of 0 has another checksum.
            continue
        is_zero = part == 0
        # The upper half of the length.
        are_zero = is_zero[4:-7] & is_zero[5:-6] & is_zero[6:-5] & is_zero[7:-4]
        at = np.flatnonzero(are_zero)
        low = [part[at + byte] for byte in range(4)]
        crc = functools.reduce(np.bitwise_xor, map(np.take, _crc_parts(), low))
        masked = ((crc >> 15) | (crc << 17)) + np.uint32(_MASK)
        stored = _uint32(part[at + _LENGTH_BYTES + byte] for byte in range(4))
        is_head = masked == stored
        lengths = _uint32(low)
        for offset, length in zip(at[is_head].tolist(), lengths[is_head].tolist(), strict=True):
            yield first + offset, length


def _uint32(columns):
    return np.stack([*columns], axis=-1).view("<u4")[..., 0]


@functools.cache
def _crc_parts():
    """What each of the lower four bytes adds to the CRC-32C of a length whose others are 0."""
    empty = google_crc32c.value(bytes(_LENGTH_BYTES))
    parts = np.zeros((4, 256), np.uint32)
    for place, byte in np.ndindex(parts.shape):
        parts[place, byte] = google_crc32c.value(struct.pack("<Q", byte << 8 * place)) ^ empty
    parts[0] ^= np.uint32(empty)
    return parts


def data_length(head):
    """The number of bytes of a record's data.

    Args:
        head: the first `HEAD_BYTES` of the record.

    Returns:
        An integer; None where the head is cut off or damaged.

    >>> data_length(frame(b"ab")[:HEAD_BYTES]), data_length(b"ab")
    (2, None)
    """
    length = head[:_LENGTH_BYTES]
    if checksum(length) != head[_LENGTH_BYTES:]:
        return None
    return struct.unpack("<Q", length)[0]


def checksum(data):
    """The masked CRC-32C of some bytes, 4 bytes."""
    crc = google_crc32c.value(data)  # TensorBoard's own takes 10 ms for a picture of 75 kB.
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)
