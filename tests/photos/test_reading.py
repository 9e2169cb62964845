import doctest
import gzip

import numpy as np
import pytest
from PIL import Image

from mnist_keras.data import write_idx
from mnist_keras.errors import DataError
from mnist_keras.inputs.deadline import Deadline
from mnist_keras.photos import reading
from mnist_keras.photos.reading import read


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((2, 28, 28), np.float32), "float32 (2, 28, 28)"),
        (np.zeros((2, 27, 28), np.uint8), "uint8 (2, 27, 28)"),
        (np.zeros((1, 2, 28, 28), np.uint8), "uint8 (1, 2, 28, 28)"),
        (np.zeros(28, np.uint8), "uint8 (28,)"),
    ],
)
def test_an_idx_file_of_other_arrays_is_refused(array, received, tmp_path):
    path = str(tmp_path / "array")
    write_idx(path, array)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path!r} does not contain images of digits. Received: {received}. "
        "Expected: uint8 (n, 28, 28)."
    )


@pytest.mark.parametrize("count", [0, 1])
def test_an_idx_file_of_one_image_or_none_is_read(count, tmp_path):
    shape = (28, 28) if count else (0, 28, 28)
    write_idx(tmp_path / "array", np.zeros(shape, np.uint8))
    assert read(tmp_path / "array").images.shape == (count, 28, 28)


def test_a_photo_that_takes_too_long_is_named(tmp_path):
    path = str(tmp_path / "page.png")
    Image.new("L", (30, 20)).save(path)
    with pytest.raises(DataError) as caught:
        read(path, deadline=Deadline(0))
    assert str(caught.value) == (
        f"{path!r} takes too long to read. Received: more than 0 s. "
        "Expected: a photo of some digits."
    )


def test_an_idx_file_of_other_arrays_is_not_unpacked(tmp_path):
    path = tmp_path / "other.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9]))[:-8])
    with pytest.raises(
        DataError, match=r"does not contain images of digits\. Received: uint8 \(9,"
    ):
        read(path)


def test_the_examples_are_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(reading).failed == 0
