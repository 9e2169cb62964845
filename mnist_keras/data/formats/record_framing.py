"""The framing of TFRecord files; TensorBoard's event files have the same framing.

A record is the length of its data (uint64), the length's checksum (uint32), the data and their
checksum (uint32), all little-endian. A checksum is a masked CRC-32C. Format:
https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import struct

import google_crc32c

HEAD_BYTES, FOOT_BYTES = 12, 4
_LENGTH_BYTES = 8
_CHUNK_BYTES = 1 << 20
_MESSAGE_BYTES = 1 << 31  # A record holds a protobuf message, which is smaller.
_HIGH_BYTES = bytes(4)  # The upper half of the length of a record below 4 GiB.


def frame(data):
    """The bytes of one record.

    >>> frame(b"ab").hex(" ")
    '02 00 00 00 00 00 00 00 78 27 0b 34 61 62 1c b0 f0 f4'
    """
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def read_record(file):
    """The data of the next record in a binary file.

    Returns:
        bytes; None at the end of the file, and where the record is cut off or damaged.
    """
    length = data_length(file.read(HEAD_BYTES))
    if length is None:
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

    Yields:
        (the offset of a record, the offset after it, its data).

    >>> import io
    >>> list(records_in(io.BytesIO(frame(b"ab") + b"?" + frame(b"c"))))
    [(0, 18, b'ab'), (19, 36, b'c')]
    """
    begin: int | None = 0
    while begin is not None:
        file.seek(begin)
        while (data := read_record(file)) is not None:
            end = file.tell()
            yield begin, end, data
            begin = end
        begin = _next_record(file, begin + 1)


def is_cut_off(tail):
    """Whether some bytes are the beginning of a record, as a killed writer leaves it.

    >>> is_cut_off(frame(b"ab")[:-1]), is_cut_off(frame(b"ab")), is_cut_off(b"no record at all")
    (True, False, False)
    """
    length = data_length(tail[:HEAD_BYTES])
    if length is None:
        return len(tail) < HEAD_BYTES
    return len(tail) < HEAD_BYTES + length + FOOT_BYTES and length < _MESSAGE_BYTES


def _next_record(file, begin):
    """The offset of the first undamaged record from an offset on, or None."""
    file.seek(begin)
    rest = file.read()
    at = rest.find(_HIGH_BYTES, _LENGTH_BYTES - len(_HIGH_BYTES))
    while at >= 0:
        start = at + len(_HIGH_BYTES) - _LENGTH_BYTES
        length = data_length(rest[start : start + HEAD_BYTES])
        if length is not None:
            foot = start + HEAD_BYTES + length
            if rest[foot : foot + FOOT_BYTES] == checksum(rest[start + HEAD_BYTES : foot]):
                return begin + start
        at = rest.find(_HIGH_BYTES, at + 1)
    return None


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
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
