"""A picture of the images that the network received from each file, with its answers."""

from PIL import Image, ImageDraw

from mnist_keras.callbacks.tensorboard.drawing import grid, note, png
from mnist_keras.callbacks.tensorboard.lettering import write
from mnist_keras.console.terminal import printable

_PHOTO_PIXELS = 640
_COLUMNS = 8
_MOST_FILES, _MOST_DIGITS = 100, 400  # Shown; limits the size of the picture.
_RED = (178, 24, 43)


def contact_sheet(readings, chances_of):
    """The bytes of a PNG: each photo with boxes around its digits, and below it their images.

    The caption of an image has the number of the digit on the photo, the class with its
    probability, and the second most probable class in brackets.

    Args:
        readings: a `mnist_keras.photos.reading.Reading` for each file.
        chances_of: for each file the probabilities of its digits, (n, classes).
    """
    shown = list(zip(readings, chances_of, strict=True))[:_MOST_FILES]
    blocks = [part for reading, chances in shown for part in _block(reading, chances)]
    if len(readings) > _MOST_FILES:
        blocks.append(note(f"and {len(readings) - _MOST_FILES} more files"))
    blocks = blocks or [note("no file could be read")]
    width = max(block.width for block in blocks)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return png(sheet)


def _block(reading, chances):
    count = len(chances)
    text = f"{printable(reading.path)}: {count} digit{'s' * (count != 1)}"
    if count > _MOST_DIGITS:
        text += f", the first {_MOST_DIGITS} shown"
    yield note(text)
    if reading.photo is not None:
        yield _boxed(reading)
    if count:
        captions = [_caption(number, row) for number, row in enumerate(chances[:_MOST_DIGITS], 1)]
        yield grid(reading.images[:_MOST_DIGITS], captions, columns=_COLUMNS)


def _caption(number, chances):
    second, first = chances.argsort(kind="stable")[-2:]
    return f"{number}: {first} {chances[first]:.2f}\n({second} {chances[second]:.2f})"


def _boxed(reading):
    """The photo, reduced in size, with a numbered box around each digit."""
    picture = Image.fromarray(reading.photo.grey)
    picture.thumbnail((_PHOTO_PIXELS, _PHOTO_PIXELS))
    scale = picture.width / reading.photo.size[0]
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    for number, box in enumerate(reading.boxes[:_MOST_DIGITS], 1):
        left, top, width, height = (length * scale for length in box)
        draw.rectangle((left, top, left + width, top + height), outline=_RED)
        write(picture, (left, top), str(number), _RED, anchor=(0, 1))
    return picture
