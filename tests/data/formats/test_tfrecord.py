import doctest
import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mnist_keras.data import DatasetDescription
from mnist_keras.data.formats import tfrecord
from mnist_keras.data.formats.tfrecord import TFRecordImages, write_tfrecord
from mnist_keras.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = [5, 0, 4, 1, 9, 2]


@pytest.fixture
def path(tmp_path):
    write_tfrecord(tmp_path / "some.tfrecord", IMAGES, LABELS)
    return tmp_path / "some.tfrecord"


def test_the_examples_in_the_docstrings_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(tfrecord).failed == 0


def test_a_slice_reads_nothing_until_images_are_used(path, monkeypatch):
    images, read, image = TFRecordImages(path), [], TFRecordImages._image
    monkeypatch.setattr(
        TFRecordImages, "_image", lambda self, number: read.append(number) or image(self, number)
    )
    part = images[1:][1:4]
    assert (read, part.shape, part.labels.tolist()) == ([], (3, 28, 28), LABELS[2:5])
    np.testing.assert_array_equal(part[[2, 0]], IMAGES[[4, 2]])
    assert read == [4, 2]
    np.testing.assert_array_equal(part, IMAGES[2:5])


def features(**values):
    kinds = {bytes: tf.train.BytesList, int: tf.train.Int64List, float: tf.train.FloatList}
    fields = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    made = {
        name: tf.train.Feature(**{fields[type(v)]: kinds[type(v)](value=[v])})
        for name, v in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def picture(pixels, form="PNG", length=None):
    """A picture file, padded by a comment to a given length."""
    file, info = io.BytesIO(), PngInfo()
    comment = b"" if length is None else bytes(length - len(picture(pixels, form)) - 13)
    if length is not None:
        info.add(b"teXt", comment + b"-")
    more = {"pnginfo": info} if form == "PNG" else {"comment": comment + bytes(9)}
    Image.fromarray(pixels).save(file, form, **(more if length is not None else {}))
    return file.getvalue()


def of_size(png, width, height):
    """A PNG file whose header promises another size."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def write_records(path, *records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def test_tensorflow_reads_the_written_records(path):
    described = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    found = [tf.io.parse_single_example(r, described) for r in tf.data.TFRecordDataset(str(path))]
    assert [int(one["label"]) for one in found] == LABELS
    pixels = [tf.io.decode_raw(one["image"], tf.uint8).numpy() for one in found]
    np.testing.assert_array_equal(np.reshape(pixels, IMAGES.shape), IMAGES)


@pytest.mark.parametrize("rows", [2, -1, slice(1, 5, 2), slice(3, 3), [4, 0, 0]], ids=str)
def test_a_file_is_indexed_like_an_array(path, rows):
    images = TFRecordImages(path)
    assert (images.shape, images.dtype, images.labels.tolist()) == ((6, 28, 28), np.uint8, LABELS)
    np.testing.assert_array_equal(images[rows], IMAGES[rows])


@pytest.mark.parametrize(
    "image", [{"image": picture(IMAGES[0])}, {"image_raw": IMAGES[0].tobytes()}], ids=["png", "raw"]
)
def test_records_with_other_usual_fields_are_read(tmp_path, image):
    record = features(**image, label=7, height=28, note=0.5)
    images = TFRecordImages(write_records(tmp_path / "a", record))
    np.testing.assert_array_equal(images[0], IMAGES[0])
    assert images.labels.tolist() == [7]


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_an_encoded_picture_as_long_as_raw_pixels_is_decoded(tmp_path, form):
    pixels = np.zeros((28, 28), np.uint8)
    pixels[8:20, 10:14] = 255
    data = picture(pixels, form, length=28 * 28)
    assert len(data) == 28 * 28
    images = TFRecordImages(write_records(tmp_path / "a", features(image=data, label=1)))
    np.testing.assert_array_equal(images[0], np.asarray(Image.open(io.BytesIO(data))))
    assert np.abs(images[0].astype(int) - pixels).max() < 30


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (features(image=b"x" * 784), "has no label in record 0. Received: [] of image."),
        (features(image=b"x" * 784, label=10), "has no label in record 0. Received: [10] of"),
        (b"\xff\xff\xff", "has no examples. Received: record 0."),
        (features(label=1), "has no image in record 0. Received: 0 bytes."),
        (features(label=1, image=b"x" * 783), "has no image in record 0. Received: 783 bytes."),
        (features(label=1, image=picture(IMAGES[0], "BMP")), "has no image in record 0."),
        (features(label=1, image=picture(IMAGES[0], "EPS")), "has no image in record 0."),
        (
            features(label=1, image=picture(IMAGES[0, :9])),
            "has an image of the wrong shape in record 0. Received: (9, 28). Expected: (28, 28).",
        ),
        (
            features(label=1, image=of_size(picture(IMAGES[0]), 60_000, 50_000)),
            "has an image of the wrong shape in record 0. Received: (50000, 60000).",
        ),
    ],
)
def test_an_invalid_example_is_reported(tmp_path, record, message):
    path = write_records(tmp_path / "a", record)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        TFRecordImages(path)[0]
    assert str(caught.value).startswith(repr(str(path)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_images_are_read_raw_and_encoded(tmp_path, channels):
    described = DatasetDescription(image_shape=(9, 7, channels), classes=300)
    pixels = np.random.default_rng(2).integers(0, 256, (2, 9, 7, channels), np.uint8)
    write_tfrecord(tmp_path / "pixels", pixels, [299, 0])
    stored = [features(image=picture(image.squeeze()), label=299) for image in pixels]
    for path in (tmp_path / "pixels", write_records(tmp_path / "pictures", *stored)):
        images = TFRecordImages(path, description=described)
        np.testing.assert_array_equal(images, pixels)
        assert (images.shape, images.ndim, images.labels[0]) == (pixels.shape, 4, 299)
    with pytest.raises(DataError, match=r"Expected: label, 0 to 9\.$"):
        TFRecordImages(tmp_path / "pixels")


def test_every_damaged_byte_is_detected(path):
    data = path.read_bytes()
    for at in range(0, len(data), 23):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(DataError):
            TFRecordImages(path)


def test_a_truncated_file_is_detected(path):
    data = path.read_bytes()
    for end in (0, 1, 11, 12, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DataError):
            TFRecordImages(path)


def test_a_missing_file_is_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"cannot be read\. Received: a named pipe\. "):
        TFRecordImages(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"cannot be read\. Received: No such file"):
        TFRecordImages(tmp_path / "none")
