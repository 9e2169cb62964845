import doctest
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mnist_keras.errors import DataError
from mnist_keras.inputs.deadline import Deadline, DeadlineError
from mnist_keras.photos import photo_file
from mnist_keras.photos.photo_file import MOST_PIXELS, read_photo
from tests.data.files import message_of

PHOTO = "a photo (JPEG, PNG, HEIC, WebP, GIF or BMP) or an IDX file"
HEIC = os.path.join(os.path.dirname(__file__), "one.heic")


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def marked():
    """Light grey with a dark upper left corner, (40, 60)."""
    grey = np.full((40, 60), 230, np.uint8)
    grey[:10, :20] = 20
    return grey


def save(pixels, name, **options):
    Image.fromarray(pixels).save(name, **options)
    return name


def png(width, height, data=b""):
    """The bytes of a grey PNG whose header promises that size and whose pixels are ``data``."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("name", ["photo.png", "photo.bmp", "photo.gif", "png_in_truth.jpg"])
def test_the_file_type_is_recognized_by_content(name, marked):
    save(marked, name, format="PNG" if "truth" in name else None)
    photo = read_photo(name)
    np.testing.assert_array_equal(photo.grey, marked)
    assert photo.size == (60, 40)


@pytest.mark.parametrize("name", ["photo.jpg", "photo.webp"])
def test_a_compressed_photo_is_read(name, marked):
    assert np.abs(read_photo(save(marked, name)).grey.astype(int) - marked).mean() < 5


def test_a_phones_heic_photo_is_read():
    photo = read_photo(HEIC)
    assert (photo.size, photo.grey.shape) == ((96, 64), (64, 96))
    dark = np.zeros((64, 96), bool)
    dark[12:52, 18:24] = True
    np.testing.assert_array_equal(photo.grey < 130, dark)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_photo_is_rotated_by_its_exif_orientation(name, orientation, marked):
    # how the camera stored an upright picture, by the EXIF standard's table of orientations
    stored = [
        marked,
        marked[:, ::-1],
        marked[::-1, ::-1],
        marked[::-1],
        marked.T,
        np.rot90(marked, 1),
        marked[::-1, ::-1].T,
        np.rot90(marked, -1),
    ][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(save(np.ascontiguousarray(stored), name, exif=exif))
    assert (photo.size, photo.grey.shape) == ((60, 40), (40, 60))
    np.testing.assert_array_equal(photo.grey < 125, marked < 125)


def test_damaged_exif_is_ignored(marked, recwarn):
    photo = read_photo(save(marked, "photo.jpg", exif=b"Exif\0\0" + b"\xff" * 40))
    assert photo.size == (60, 40)
    assert list(recwarn) == []


def test_sixteen_bit_grey_is_scaled_not_clipped(marked):
    name = save(marked.astype(np.uint16) * 257, "photo.png")
    np.testing.assert_array_equal(read_photo(name).grey, marked)


@pytest.mark.parametrize("ink", [0, 255])
def test_transparent_pixels_are_background(ink):
    drawing = np.zeros((40, 60, 4), np.uint8)
    drawing[10:30, 20:24] = (ink, ink, ink, 255)
    grey = read_photo(save(drawing, "drawing.png")).grey
    assert set(np.unique(grey[10:30, 20:24])) == {ink}
    assert set(np.unique(grey[:, :10])) == {255 - ink}


def test_colours_are_converted_to_grey():
    pixels = np.zeros((8, 3, 3), np.uint8)
    pixels[:, range(3), range(3)] = 255
    np.testing.assert_array_equal(read_photo(save(pixels, "a.png")).grey[0], [76, 150, 29])


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_large_photos_are_reduced_and_boxes_scaled_back(name):
    with Image.new("L", (8660, 5774), 255) as large:
        large.paste(0, (866, 0, 1732, 5774))
        large.save(name)
    photo = read_photo(name)
    assert photo.size == (8660, 5774)
    assert 1e6 < photo.grey.size < 4.5e6
    left, right = np.flatnonzero(photo.grey[0] < 128)[[0, -1]]
    box = (int(left), 0, int(right + 1 - left), photo.grey.shape[0])
    x, y, width, height = photo.in_own_pixels(box)
    assert (y, height) == (0, 5774)
    assert x == pytest.approx(866, abs=4)
    assert width == pytest.approx(866, abs=8)


def test_a_file_in_memory_is_read_and_has_no_name(marked):
    name = save(marked, "photo.png")
    with open(name, "rb") as file:
        content = file.read()
    np.testing.assert_array_equal(read_photo(io.BytesIO(content)).grey, marked)
    for damaged, problem in {
        b"seven": "is not a photo. Received: bytes 73 65 76 65 6e. "
        "Expected: a photo (JPEG, PNG, HEIC, WebP, GIF or BMP).",
        content[:-30]: "is damaged. Received: image file is truncated. Expected: a complete file.",
    }.items():
        assert message_of(read_photo, io.BytesIO(damaged)) == f"the file {problem}"
    with open(HEIC, "rb") as file:
        assert read_photo(io.BytesIO(file.read())).size == (96, 64)


def test_the_maximum_number_of_pixels_can_be_lowered(marked):
    name = save(marked, "photo.png")
    assert read_photo(name, most_pixels=2400).size == (60, 40)
    expected = f"{name!r} is too large. Received: 60 x 40 pixels. Expected: at most 2399 pixels."
    with pytest.raises(DataError, match="too large") as caught:
        read_photo(name, most_pixels=2399)
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.gif", "photo.bmp"])
def test_decoding_ends_at_the_deadline(name, marked):
    times = iter(range(100))
    noise = np.random.default_rng(0).integers(0, 256, (400, 600), np.uint8)
    with pytest.raises(DeadlineError, match=r"^more than 5 s$"):
        read_photo(save(noise, name), deadline=Deadline(5, clock=lambda: next(times)))


def test_a_single_pixel_is_a_photo():
    photo = read_photo(save(np.zeros((1, 1), np.uint8), "one.png"))
    assert (photo.size, photo.grey.tolist()) == ((1, 1), [[0]])


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp"])
def test_an_animation_is_refused(name, marked):
    first, second = Image.fromarray(marked), Image.fromarray(255 - marked)
    first.save(name, save_all=True, append_images=[second])
    expected = f"{name!r} is animated. Received: 2 pictures. Expected: a single picture."
    assert message_of(read_photo, name) == expected


def test_the_second_picture_in_a_phones_jpeg_is_ignored(marked):
    first, second = Image.fromarray(marked), Image.fromarray(255 - marked)
    first.save("photo.jpg", format="MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_photo("photo.jpg").grey < 125, marked < 125)


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"Dear diary, 7 8 9", "bytes 44 65 61 72 20 64 69 61"),
        (b"", "an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "bytes 25 21 50 53 2d 41 64 6f"),
        (b"\0\0\0\x18ftypheic", "bytes 00 00 00 18 66 74 79 70"),
    ],
    ids=["text", "empty", "EPS", "HEIC without a picture"],
)
def test_a_file_that_is_not_a_photo_is_refused(content, received, tmp_path):
    (tmp_path / "seven.png").write_bytes(content)
    expected = f"'seven.png' is not a photo. Received: {received}. Expected: {PHOTO}."
    assert message_of(read_photo, "seven.png") == expected


@pytest.mark.parametrize(
    ("size", "received"),
    [
        ((12_000, 12_000), "12000 x 12000 pixels"),
        ((50_000, 50_000), "Image size (2500000000 pixels)"),
    ],
)
def test_a_decompression_bomb_is_refused_before_decoding(size, received, tmp_path, recwarn):
    (tmp_path / "bomb.png").write_bytes(png(*size, bytes(1000)))
    expected = f"'bomb.png' is too large. Received: {received}. Expected: at most 120000000 pixels."
    assert message_of(read_photo, "bomb.png") == expected
    assert list(recwarn) == []
    assert MOST_PIXELS == 120_000_000


@pytest.mark.parametrize("size", [(1, 1_000_001), (119_000_000, 1)])
def test_a_picture_that_is_too_long_is_refused_before_decoding(size, tmp_path):
    (tmp_path / "long.png").write_bytes(png(*size))
    assert message_of(read_photo, "long.png") == (
        f"'long.png' is too long. Received: {size[0]} x {size[1]} pixels. "
        "Expected: at most 1000000 on a side."
    )


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.webp", "photo.heic"])
def test_a_truncated_photo_is_damaged(name, tmp_path):
    if name == "photo.heic":
        with open(HEIC, "rb") as file:
            content = file.read()
    else:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        content = (tmp_path / save(noise, name)).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) - 60])
    assert message_of(read_photo, name).startswith((f"{name!r} is damaged.", f"{name!r} is no"))


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    os.mkfifo("pipe")
    reasons = {"none.png": "No such file or directory"}
    reasons |= {"pipe": "a named pipe", ".": "a directory"}
    for name, reason in reasons.items():
        expected = f"{name!r} cannot be read. Received: {reason}. Expected: {PHOTO}."
        assert message_of(read_photo, name) == expected


@pytest.mark.slow
def test_the_example_is_true():
    assert doctest.testmod(photo_file).failed == 0
