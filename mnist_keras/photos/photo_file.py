"""Reads the file of a photo as upright grey pixels, and refuses other files."""

import contextlib
import dataclasses
import math
import os
import warnings
from typing import IO, cast

import numpy as np
from PIL import ExifTags, Image

from mnist_keras.annotations import Box, StrPath
from mnist_keras.errors import DataError
from mnist_keras.inputs.deadline import Deadline, DeadlineError
from mnist_keras.inputs.regular_file import open_regular

MOST_PIXELS = 120_000_000  # More than a phone's camera; a decompression bomb exceeds it.
_MOST_ON_A_SIDE = 1_000_000  # Pillow takes 16 bytes a row besides its pixels.
_BLOCK_BYTES = 4096  # Given to a decoder at a time; a block may repeat a large JPEG many times.

_WORKING_PIXELS = 2_000_000  # Enough for a page of digits, each of which ends with 20 pixels.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # Not EPS and others, which are not photos.
_FIRST_PICTURE_IS_THE_PHOTO = ("MPO", "HEIF")  # MPO is a JPEG followed by another one.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = [_TURNS[number] for number in (5, 6, 7, 8)]
_PHOTO = "a photo (JPEG, PNG, HEIC, WebP, GIF or BMP)"
_EXPECTED = f"{_PHOTO} or an IDX file"


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photo as grey pixels.

    Attributes:
        grey: uint8 (height, width), upright, reduced to about 2 million pixels.
        size: (width, height) of the upright photo in its original pixels.
    """

    grey: np.ndarray
    size: tuple

    def in_own_pixels(self, box: Box) -> Box:
        """A box (x, y, width, height) of ``grey`` in pixels of the original photo."""
        scale = [own / shrunk for own, shrunk in zip(self.size, self.grey.shape[::-1], strict=True)]
        x, y, width, height = box
        left, right = (round(edge * scale[0]) for edge in (x, x + width))
        top, bottom = (round(edge * scale[1]) for edge in (y, y + height))
        return left, top, right - left, bottom - top


def read_photo(
    path: StrPath | IO[bytes], *, most_pixels: int = MOST_PIXELS, deadline: Deadline | None = None
) -> Photo:
    """Reads a JPEG, PNG, HEIC, WebP, GIF or BMP file and applies its EXIF orientation.

    A large JPEG is decoded at reduced size. Transparent pixels count as background.

    Args:
        path: the file, or a binary file object, as ``io.BytesIO``.
        most_pixels: a photo with more pixels is refused before it is decoded.
        deadline: limits the time; checked each time that the decoder asks for more bytes.

    Returns:
        A `Photo`.

    Raises:
        DataError: the file cannot be read, is not a photo, is damaged, is animated or has too many
            pixels.
        DeadlineError: the deadline is over.

    Example:

    >>> from PIL import Image
    >>> Image.new("L", (8000, 6000), 255).save("page.png")
    >>> photo = read_photo("page.png")
    >>> photo.size, photo.grey.shape
    ((8000, 6000), (1200, 1600))
    """
    deadline = deadline or Deadline()
    if not isinstance(path, (str, os.PathLike)):
        return _read("the file", path, most_pixels, deadline, expected=_PHOTO)
    name = repr(os.fspath(path))
    try:
        with open_regular(path) as file:
            return _read(name, file, most_pixels, deadline, expected=_EXPECTED)
    except OSError as error:
        raise _bad(name, "cannot be read", error.strerror or error, _EXPECTED) from error


class _Timed:
    """A binary file for Pillow that checks a deadline at each read."""

    def __init__(self, file, deadline):
        self._file, self._deadline = file, deadline
        self.seek, self.tell = file.seek, file.tell

    def read(self, size=-1):
        self._deadline.check()
        return self._file.read(size)


def _read(name, file, most_pixels, deadline, *, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They concern metadata, not pixels.
        head = file.read(12)
        file.seek(0)
        try:
            timed = cast(IO[bytes], _Timed(file, deadline))
            image = Image.open(timed, formats=_formats(head))
            moves = getattr(image, "is_animated", False)
        except DeadlineError:
            raise
        except Image.DecompressionBombError as error:
            received = str(error).partition(" exceeds ")[0]
            raise _bad(name, "is too large", received, f"at most {most_pixels} pixels") from error
        except Exception as error:  # Pillow passes on the exceptions of its readers.
            received = f"bytes {head[:8].hex(' ')}" if head else "an empty file"
            raise _bad(name, "is not a photo", received, expected) from error
        if image.width * image.height > most_pixels:
            received = f"{image.width} x {image.height} pixels"
            raise _bad(name, "is too large", received, f"at most {most_pixels} pixels")
        if max(image.size) > _MOST_ON_A_SIDE:
            received = f"{image.width} x {image.height} pixels"
            raise _bad(name, "is too long", received, f"at most {_MOST_ON_A_SIDE} on a side")
        if moves and image.format not in _FIRST_PICTURE_IS_THE_PHOTO:
            count = getattr(image, "n_frames", "several")
            raise _bad(name, "is animated", f"{count} pictures", "a single picture")
        try:
            photo = _photo(image)
            deadline.check()
            return photo
        except DeadlineError:
            raise
        except Exception as error:  # Likewise its decoders.
            reason = error or type(error).__name__
            raise _bad(name, "is damaged", reason, "a complete file") from error


def _photo(image):
    size = image.size
    image.decodermaxblock = _BLOCK_BYTES
    image.draft("L", _working_size(size))
    grey = _grey(image)
    turn = _turn(image)
    if turn is not None:
        grey = grey.transpose(turn)
        size = size[::-1] if turn in _SIDEWAYS else size
    return Photo(np.asarray(grey), size)


def _formats(head):
    if head[4:8] != b"ftyp":
        return _FORMATS
    import pi_heif

    pi_heif.register_heif_opener()
    return ("HEIF",)


def _shrinking(size):
    width, height = size
    return max(round(math.sqrt(width * height / _WORKING_PIXELS)), 1)


def _working_size(size):
    return [max(length // _shrinking(size), 1) for length in size]


def _grey(image):
    """The image in shades of grey, reduced in size; transparent parts contrast with the ink."""
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values at 255.
        pixels = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return _shrunk(image.convert("L"))
    covered = np.asarray(_shrunk(image.convert("RGBA").convert("LA").convert("La")), np.float32)
    light, cover = covered[..., 0], covered[..., 1]
    ground = 0 if light.sum() > cover.sum() / 2 else 1
    return Image.fromarray(np.rint(light + ground * (255 - cover)).astype(np.uint8))


def _shrunk(image):
    return image.reduce(_shrinking(image.size))


def _turn(image):
    """The transposition that makes the image upright; None: none is needed or known."""
    with contextlib.suppress(Exception):  # Pillow passes on the exceptions of its EXIF reader.
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    return None


def _bad(name, problem, received, expected):
    received = " ".join(str(received).split())
    return DataError(f"{name} {problem}. Received: {received}. Expected: {expected}.")
