"""TFRecord files of images and labels, read record by record where they lie.

A record is a ``tf.train.Example`` with ``image`` (or ``image_raw``), the 784 bytes of the pixels or
a picture file of 28 x 28, as tensorflow_datasets writes it, and ``label``, a whole number. Format:
https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import copy
import functools
import io
import mmap
import os
import stat
import struct
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mnist_keras.data.formats.idx import replacing
from mnist_keras.errors import DataError

_SIDE = 28
_IMAGE, _LABEL = ("image", "image_raw"), "label"
_HEAD, _FOOT = 12, 4
_PNG, _JPEG, _JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9"


class TFRecordImages:
    """The images of one file, indexed like an array uint8 (n, 28, 28).

    Opening it reads the whole file once, to find the records and their labels. A slice of it is
    such images too and reads nothing.

    Args:
        path: the file.

    Raises:
        DataError: the file cannot be read, is damaged, or holds something else; also later, for a
            record whose bytes are damaged.

    Attributes:
        labels: uint8 (n,).

    Example:

    >>> write_tfrecord("some.tfrecord", np.zeros((3, 28, 28), np.uint8), [5, 0, 4])
    >>> images = TFRecordImages("some.tfrecord")
    >>> images.labels, images[[2, 0]].shape
    (array([5, 0, 4], dtype=uint8), (2, 28, 28))
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, path):
        self._path = os.fspath(path)
        try:
            # before open, which would wait for ever at a named pipe
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise self._bad("cannot be read", "a directory or device", "a TFRecord file")
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:  # As one lost on its way often is.
                    raise self._bad("is empty", "0 bytes", "a TFRecord file")
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise self._bad("cannot be read", error.strerror or error, "a TFRecord file") from error
        self._offsets = np.array(self._find_records(), np.int64)
        labels = [self._label(number) for number in range(len(self._offsets))]
        self._show(np.arange(len(labels)), np.array(labels, np.uint8))

    def _show(self, numbers, labels):
        """Be the images of these records."""
        self._numbers, self.labels = numbers, labels
        self.shape = (len(numbers), _SIDE, _SIDE)

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, rows):
        """The images of a slice, of a row, or of an array of rows."""
        chosen = self._numbers[rows]
        if isinstance(rows, slice):
            part = copy.copy(self)
            part._show(chosen, self.labels[rows])
            return part
        if chosen.ndim == 0:
            return self._image(int(chosen))
        images = [self._image(int(row)) for row in chosen]
        return np.stack(images) if images else np.zeros((0, _SIDE, _SIDE), np.uint8)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[np.arange(len(self))], dtype)

    def _find_records(self):
        offsets, at, size = [], 0, len(self._bytes)
        while at < size:
            head = self._bytes[at : at + _HEAD]
            if len(head) < _HEAD or _checksum(head[:8]) != head[8:]:
                raise self._bad("is damaged", f"no record at byte {at}", "a TFRecord file")
            offsets.append(at)
            at += _HEAD + struct.unpack("<Q", head[:8])[0] + _FOOT
        if at > size:
            raise self._bad("is cut off", f"{size} bytes", f"{at}, to the last record's end")
        return offsets

    def _features(self, number):
        at = int(self._offsets[number])
        length = struct.unpack("<Q", self._bytes[at : at + 8])[0]
        data = self._bytes[at + _HEAD : at + _HEAD + length]
        if _checksum(data) != self._bytes[at + _HEAD + length : at + _HEAD + length + _FOOT]:
            raise self._bad("is damaged", f"another checksum of record {number}", "its own")
        try:
            entries = _example_class().FromString(data).features.feature
        except Exception as error:  # Protobuf's own kinds differ from one version to another.
            raise self._bad("holds no examples", f"record {number}", "tf.train.Example") from error
        return {entry.key: entry.value for entry in entries}

    def _label(self, number):
        features = self._features(number)
        values = features[_LABEL].int64_list.value if _LABEL in features else []
        if len(values) != 1 or not 0 <= values[0] <= 9:
            received = f"{list(values)} of {', '.join(sorted(features)) or 'no features'}"
            raise self._bad(f"has no label in record {number}", received, "label, 0 to 9")
        return values[0]

    def _image(self, number):
        features = self._features(number)
        name = next((name for name in _IMAGE if name in features), None)
        values = features[name].bytes_list.value if name else []
        data = values[0] if len(values) == 1 else b""
        if len(data) == _SIDE * _SIDE and not _is_picture(data):
            return np.frombuffer(data, np.uint8).reshape(_SIDE, _SIDE)
        return self._picture(data, number)

    def _picture(self, data, number):
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as picture:
                pixels = np.asarray(picture.convert("L"))
        except Exception as error:  # Pillow lets through whatever its formats raise.
            received = f"{len(data)} bytes"
            expected = f"{_SIDE * _SIDE} bytes, or a picture of {_SIDE} x {_SIDE}"
            raise self._bad(f"has no image in record {number}", received, expected) from error
        if pixels.shape != (_SIDE, _SIDE):
            raise self._bad(f"has another image in record {number}", pixels.shape, (_SIDE, _SIDE))
        return pixels

    def _bad(self, problem, received, expected):
        return DataError(f"{self._path!r} {problem}. Received: {received}. Expected: {expected}.")


def write_tfrecord(path, images, labels):
    """Write images, uint8 (n, 28, 28), and their labels as one file, whole or not at all.

    Raises:
        DataError: the disk refuses.
    """
    with replacing(path) as (stream, _):
        for image, label in zip(images, labels, strict=True):
            features = _example_class()()
            for name in (_IMAGE[0], _LABEL):
                entry = features.features.feature.add(key=name)
                if name == _LABEL:
                    entry.value.int64_list.value.append(int(label))
                else:
                    entry.value.bytes_list.value.append(np.asarray(image, np.uint8).tobytes())
            data = features.SerializeToString()
            length = struct.pack("<Q", len(data))
            stream.write(length + _checksum(length) + data + _checksum(data))


def _is_picture(data):
    """Whether these bytes are a picture file: one may be as long as the pixels are many."""
    return data.startswith(_PNG) or (data.startswith(_JPEG) and data.endswith(_JPEG_END))


def _checksum(data):
    """CRC-32C, masked as in a TFRecord."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _example_class():
    """``tf.train.Example``, without the import of TensorFlow; its map is a list of entries."""
    field = descriptor_pb2.FieldDescriptorProto
    messages: dict[str, list[tuple[str, int, Any, bool]]] = {
        "BytesList": [("value", 1, field.TYPE_BYTES, True)],
        "Int64List": [("value", 1, field.TYPE_INT64, True)],
        "Feature": [("bytes_list", 1, "BytesList", False), ("int64_list", 3, "Int64List", False)],
        "Entry": [("key", 1, field.TYPE_STRING, False), ("value", 2, "Feature", False)],
        "Features": [("feature", 1, "Entry", True)],
        "Example": [("features", 1, "Features", False)],
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="mnist_keras/example.proto", package="mnist_keras", syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, is_repeated in fields:
            added = message.field.add(name=field_name, number=number)
            added.label = field.LABEL_REPEATED if is_repeated else field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = field.TYPE_MESSAGE, f".mnist_keras.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("mnist_keras.Example"))
