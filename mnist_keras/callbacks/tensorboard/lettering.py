"""Lines of text in pictures; each is drawn once and cached, because drawing is slow."""

import functools
import math
import unicodedata

from PIL import Image, ImageDraw, ImageFont

LINE_PIXELS = 17  # From the top of the tallest letter to the lowest descender.
_FONT_PIXELS, _BASELINE_PIXELS = 13, 13
_FONTS = (  # System fonts to try for letters that Pillow's own font lacks.
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "meiryo.ttc",
    "malgun.ttf",
)
_IN_NO_FONT = "\U0010ffff"


def write(picture, place, text, ink, *, anchor=(0, 0), is_upright=False):
    """Write a line of text into a picture.

    Args:
        picture: a Pillow image.
        place: (x, y) in pixels.
        text: the line.
        ink: a colour of the picture's mode.
        anchor: the point of the text that lies at ``place``, as shares of its width and height.
        is_upright: whether the text runs from the bottom to the top.
    """
    letters = _upright(text) if is_upright else mask(text)
    x, y = (
        round(at - share * side)
        for at, share, side in zip(place, anchor, letters.size, strict=True)
    )
    picture.paste(ink, (x, y), letters)


@functools.lru_cache(maxsize=1000)
def mask(text):
    """A line of text as a Pillow image, `LINE_PIXELS` high; 255 is full ink."""
    font, text = _font_and_text(text)
    picture = Image.new("L", (math.ceil(font.getlength(text)), LINE_PIXELS))
    ImageDraw.Draw(picture).text((0, _BASELINE_PIXELS), text, 255, font, anchor="ls")
    return picture


@functools.lru_cache(maxsize=1000)
def fitted(text, most_pixels):
    """The text, shortened in the middle if it is wider than ``most_pixels``.

    >>> fitted("short", 100), fitted("is golden retriever, long haired", 100)
    ('short', 'is golde…haired')
    """
    shown, length = text, len(text)
    while length and _width(shown) > most_pixels:
        length -= 1
        shown = f"{text[: -(-length // 2)].rstrip()}…{text[len(text) - length // 2 :].lstrip()}"
    return shown


@functools.lru_cache(maxsize=1000)
def _upright(text):
    return mask(text).transpose(Image.Transpose.ROTATE_90)


def _width(text):
    font, text = _font_and_text(text)
    return font.getlength(text)


def _font_and_text(text):
    """The font that lacks the fewest letters, and the text with the missing letters replaced."""
    if not _lacking(_own_font(), text):
        return _own_font(), text
    font, lacking = min(
        ((font, _lacking(font, text)) for font in (_own_font(), *_fonts_here())),
        key=lambda pair: len(pair[1]),
    )
    return font, "".join(_plain(letter) if letter in lacking else letter for letter in text)


def _lacking(font, text):
    """The letters that the font lacks: it draws them as its box for unknown letters."""
    if text.isascii():
        return set()
    box = bytes(font.getmask(_IN_NO_FONT))
    return {letter for letter in set(text) if bytes(font.getmask(letter)) == box}


def _plain(letter):
    """The letter in ASCII: without its accent, or else as its code point."""
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore")
    return (plain or letter.encode("ascii", "backslashreplace")).decode()


@functools.cache
def _own_font():
    return ImageFont.load_default(_FONT_PIXELS)


@functools.cache
def _fonts_here():
    found = []
    for name in _FONTS:
        try:
            found.append(ImageFont.truetype(name, _FONT_PIXELS))
        except OSError:
            continue
    return found
