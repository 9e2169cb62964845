"""TFRecord files of images and labels, each record read when it is needed.

A record is a ``tf.train.Example`` with ``label``, an integer, and ``image`` or ``image_raw``: the
bytes of the pixels, or a PNG or JPEG file, which tensorflow_datasets writes. Format:
https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import copy
import functools
import io
import math
import mmap
import os
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mnist_keras.data.description import DEFAULT_DESCRIPTION
from mnist_keras.data.formats.idx import replacing
from mnist_keras.data.formats.record_framing import (
    FOOT_BYTES,
    HEAD_BYTES,
    checksum,
    data_length,
    frame,
)
from mnist_keras.errors import DataError
from mnist_keras.inputs.regular_file import open_regular
from mnist_keras.inputs.saved_page import HEAD_BYTES as PAGE_BYTES
from mnist_keras.inputs.saved_page import describe_page

_MOST_RECORD_BYTES = 1 << 26  # A gap in a file may have any size.
_IMAGE, _LABEL = ("image", "image_raw"), "label"
# Pillow's mode for each number of channels; (): none in the shape of an image.
_MODES = {(): "L", (1,): "L", (3,): "RGB", (4,): "RGBA"}
_PNG, _JPEG, _JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9"


class TFRecordImages:
    """The images of one file, indexed like an array uint8 (n, height, width[, channels]).

    Opening it reads the entire file once, to find the records and their labels. A slice of it is a
    `TFRecordImages` too and reads nothing.

    Args:
        path: the file.
        description: the shape of the images and the number of classes; by default those of MNIST.

    Raises:
        DataError: the file cannot be read, is damaged, or has other contents; also later, for a
            record whose bytes are damaged.

    Attributes:
        labels: uint8 (n,); int32 for more than 256 classes.

    Example:

    >>> write_tfrecord("some.tfrecord", np.zeros((3, 28, 28), np.uint8), [5, 0, 4])
    >>> images = TFRecordImages("some.tfrecord")
    >>> images.labels, images[[2, 0]].shape
    (array([5, 0, 4], dtype=uint8), (2, 28, 28))
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path, *, description=DEFAULT_DESCRIPTION):
        self._path = os.fspath(path)
        self._description = description
        try:
            with open_regular(path) as file:
                if os.fstat(file.fileno()).st_size == 0:  # mmap refuses an empty file.
                    raise self._bad("is empty", "0 bytes", "a TFRecord file")
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise self._bad("cannot be read", error.strerror or error, "a TFRecord file") from error
        self._bounds = np.array(self._find_records(), np.int64).reshape(-1, 2)
        labels = [self._label(number) for number in range(len(self._bounds))]
        self._select(np.arange(len(labels)), np.array(labels, description.label_dtype))

    def _select(self, numbers, labels):
        """Contain only these records from now on."""
        self._numbers, self.labels = numbers, labels
        self.shape = (len(numbers), *self._description.image_shape)
        self.ndim = len(self.shape)

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, rows):
        """The images of a slice, of a row, or of an array of rows."""
        chosen = self._numbers[rows]
        if isinstance(rows, slice):
            part = copy.copy(self)
            part._select(chosen, self.labels[rows])
            return part
        if chosen.ndim == 0:
            return self._image(int(chosen))
        images = [self._image(int(row)) for row in chosen]
        return np.stack(images) if images else np.zeros((0, *self.shape[1:]), np.uint8)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[np.arange(len(self))], dtype)

    def _find_records(self):
        """Where the data of each record begin and end."""
        bounds, at, size = [], 0, len(self._bytes)
        while at < size:
            length = data_length(self._bytes[at : at + HEAD_BYTES])
            if length is None or length > _MOST_RECORD_BYTES:
                page = describe_page(self._bytes[:PAGE_BYTES]) if at == 0 else None
                if page is not None:
                    problem = f"is {page[0]}, not a TFRecord file"
                    raise self._bad(problem, page[1], "a completed download")
                raise self._bad("is damaged", f"no record at byte {at}", "a TFRecord file")
            begin = at + HEAD_BYTES
            bounds.append((begin, begin + length))
            at = begin + length + FOOT_BYTES
        if at > size:
            raise self._bad("is cut off", f"{size} bytes", f"{at}, to the last record's end")
        return bounds

    def _features(self, number):
        begin, end = self._bounds[number].tolist()
        data = self._bytes[begin:end]
        if checksum(data) != self._bytes[end : end + FOOT_BYTES]:
            received = f"a wrong checksum of record {number}"
            raise self._bad("is damaged", received, "the checksum of its data")
        try:
            entries = _example_class().FromString(data).features.feature
        except Exception as error:  # The classes differ between versions of protobuf.
            raise self._bad("has no examples", f"record {number}", "tf.train.Example") from error
        return {entry.key: entry.value for entry in entries}

    def _label(self, number):
        features = self._features(number)
        values = features[_LABEL].int64_list.value if _LABEL in features else []
        last = self._description.classes - 1
        if len(values) != 1 or not 0 <= values[0] <= last:
            received = f"{list(values)} of {', '.join(sorted(features)) or 'no features'}"
            raise self._bad(f"has no label in record {number}", received, f"label, 0 to {last}")
        return values[0]

    def _image(self, number):
        features = self._features(number)
        name = next((name for name in _IMAGE if name in features), None)
        values = features[name].bytes_list.value if name else []
        data = values[0] if len(values) == 1 else b""
        shape = self._description.image_shape
        if len(data) == math.prod(shape) and not _is_picture(data):
            return np.frombuffer(data, np.uint8).reshape(shape)
        return self._picture(data, number)

    def _picture(self, data, number):
        height, width, *channels = shape = self._description.image_shape
        try:
            # Not Image.open: it tries formats for which it starts other programs.
            with _reader(data)(io.BytesIO(data)) as picture:
                received = (picture.height, picture.width)
                if received == (height, width):
                    return np.asarray(picture.convert(_MODES[tuple(channels)])).reshape(shape)
        except Exception as error:  # Pillow passes on the exceptions of its decoders.
            expected = f"{math.prod(shape)} bytes, or a PNG or JPEG of {height} x {width}"
            problem = f"has no image in record {number}"
            raise self._bad(problem, f"{len(data)} bytes", expected) from error
        problem = f"has an image of the wrong shape in record {number}"
        raise self._bad(problem, received, (height, width))

    def _bad(self, problem, received, expected):
        return DataError(f"{self._path!r} {problem}. Received: {received}. Expected: {expected}.")


def write_tfrecord(path, images, labels):
    """Write images and their labels as one file, atomically.

    Args:
        path: the file; an existing one is replaced.
        images: uint8 (n, height, width) or (n, height, width, channels).
        labels: integers (n,).

    Raises:
        DataError: the file cannot be written.
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
            stream.write(frame(features.SerializeToString()))


def _is_picture(data):
    """Whether these bytes are a picture file, which may be as long as the pixels."""
    return data.startswith(_PNG) or (data.startswith(_JPEG) and data.endswith(_JPEG_END))


def _reader(data):
    """Pillow's class for these bytes, which reads the header and decodes later."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile if data.startswith(_PNG) else JpegImageFile


@functools.cache
def _example_class():
    """``tf.train.Example`` without importing TensorFlow; its map is a list of entries."""
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
