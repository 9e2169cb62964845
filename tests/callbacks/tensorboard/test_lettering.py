import doctest
import pathlib

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_keras.callbacks.tensorboard import lettering
from mnist_keras.callbacks.tensorboard.lettering import LINE_PIXELS, fitted, mask, write

DEJAVU = str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@pytest.fixture
def fonts_here(monkeypatch):
    """fonts_here(*files): make these the only fonts of the machine."""
    caches = lettering.mask, lettering.fitted, lettering._upright, lettering._fonts_here

    def forget():
        for function in caches:
            function.cache_clear()

    def have(*files):
        monkeypatch.setattr(lettering, "_FONTS", files)
        forget()

    yield have
    forget()


def pixels(picture):
    return np.asarray(picture)


@pytest.mark.parametrize("text", ["gjpqy|", "ÅÉg", "not ñandú: 100%", "Ünïcødé Ω"])
def test_letters_are_not_cut_off(text, fonts_here):
    fonts_here(DEJAVU)
    letters = mask(text)
    font, _ = lettering._font_and_text(text)
    roomy = Image.new("L", (letters.width + 40, 3 * LINE_PIXELS))
    ImageDraw.Draw(roomy).text((20, LINE_PIXELS + 13), text, 255, font, anchor="ls")
    assert letters.height == LINE_PIXELS
    assert roomy.getbbox()[1] >= LINE_PIXELS
    assert roomy.getbbox()[3] <= 2 * LINE_PIXELS
    assert pixels(letters).sum() == pixels(roomy).sum() > 0


def test_letters_missing_in_pillows_font_use_a_system_font(fonts_here):
    box = mask("\U0010ffff")
    fonts_here("none.ttf", DEJAVU)
    assert lettering._font_and_text("cat")[0] is lettering._own_font()
    font, text = lettering._font_and_text("ñandú")
    assert (font.getname()[0], text) == ("DejaVu Sans", "ñandú")
    shown = [pixels(mask(letter)).tobytes() for letter in ("ñ", "Ω", "ж", "n")]
    assert len({*shown, pixels(box).tobytes()}) == 5


def test_letters_missing_in_all_fonts_are_written_as_escapes(fonts_here):
    fonts_here()
    np.testing.assert_array_equal(mask("ñandú"), mask("nandu"))
    np.testing.assert_array_equal(mask("零 g"), mask("\\u96f6 g"))
    fonts_here(DEJAVU)
    np.testing.assert_array_equal(mask("Größe 零"), mask("Größe \\u96f6"))


@pytest.mark.parametrize("text", ["", "a", "not Australian shepherd of some sort: 93%", "x" * 99])
def test_a_text_too_wide_keeps_its_start_and_end(text):
    for most in (20, 60, 168):
        shown = fitted(text, most)
        assert mask(shown).width <= most + 1
        start, dots, end = shown.partition("…")
        assert text.startswith(start)
        assert text.endswith(end)
        assert bool(dots) == (mask(text).width > most)


def test_a_text_is_placed_by_its_anchor():
    for anchor, is_upright in (((0, 0), False), ((1, 0.5), False), ((0.5, 1), True)):
        picture = Image.new("L", (200, 200), 255)
        write(picture, (100, 100), "Mg", 0, anchor=anchor, is_upright=is_upright)
        letters = pixels(mask("Mg"))
        letters = np.rot90(letters) if is_upright else letters
        (height, width), (across, down) = letters.shape, anchor
        x, y = round(100 - across * width), round(100 - down * height)
        np.testing.assert_array_equal(255 - pixels(picture)[y : y + height, x : x + width], letters)
        assert np.count_nonzero(pixels(picture) < 255) == np.count_nonzero(letters)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(lettering).failed == 0
