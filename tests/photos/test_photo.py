import doctest

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mnist_keras.data.datasets.synthetic import synthetic_digits
from mnist_keras.inputs.deadline import Deadline, DeadlineError
from mnist_keras.photos import ink, photo
from mnist_keras.photos.photo import find_digits

PAPER, PEN = 225, 45


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits():
    """One image of each digit from 0 to 9."""
    images, labels = synthetic_digits(200, seed=3)
    return [images[np.flatnonzero(labels == digit)[0]] for digit in range(10)]


def page(height=240, width=320, *, light=PAPER):
    return np.full((height, width), light, np.float64)


def write(sheet, image, *, x, y, side=56, pen=PEN):
    """Write an image of a digit into a square of the sheet."""
    ink = np.asarray(Image.fromarray(image).resize((side, side))) / 255
    part = sheet[y : y + side, x : x + side]
    part += (pen - part) * ink


def seen(sheet):
    return find_digits(np.rint(sheet).astype(np.uint8))


def boxes(sheet):
    return [digit.box for digit in seen(sheet)]


def nearest(image, candidates):
    """The index of the most similar candidate."""
    return int(np.argmin([np.abs(image.astype(int) - other).sum() for other in candidates]))


@pytest.mark.slow
def test_a_written_digit_is_prepared_like_an_mnist_image(digits):
    for digit, image in enumerate(digits):
        sheet = page()
        write(sheet, image, x=90, y=70, side=112)
        (found,) = seen(sheet)
        assert (found.image.shape, found.image.dtype) == ((28, 28), np.uint8)
        assert nearest(found.image, digits) == digit
        assert np.abs(found.image.astype(int) - image).mean() < 16


@pytest.mark.parametrize("invert", [False, True], ids=["as in MNIST", "dark on light"])
def test_an_image_of_mnists_own_size_is_read_too(invert, digits):
    for digit, image in enumerate(digits):
        (found,) = find_digits(255 - image if invert else image)
        assert nearest(found.image, digits) == digit


def test_dark_on_light_and_light_on_dark_give_the_same(digits):
    sheet = page()
    for number, digit in enumerate((3, 8, 5)):
        write(sheet, digits[digit], x=20 + 90 * number, y=60, side=84)
    dark, light = seen(sheet), seen(255 - sheet)
    for one, other in zip(dark, light, strict=True):
        assert np.abs(one.image.astype(int) - other.image).mean() < 8


def test_light_chalk_on_an_unevenly_lit_board_is_found(digits):
    board = page(light=50)
    for number, digit in enumerate((2, 6)):
        write(board, digits[digit], x=30 + 140 * number, y=60, side=112, pen=230)
    board *= np.linspace(0.5, 1, board.shape[1])
    assert [nearest(found.image, digits) for found in seen(board)] == [2, 6]


def test_digits_are_ordered_by_line_and_left_to_right(digits):
    sheet = page(300, 420)
    lines = [(7, 1, 4, 0, 9), (2, 8, 3)]
    for row, line in enumerate(lines):
        for column, digit in enumerate(line):
            # Handwritten lines slope, and digits vary in height.
            y = 20 + 130 * row + 8 * column + 5 * (column % 2)
            write(sheet, digits[digit], x=20 + 75 * column, y=y, side=70)
    read = [nearest(found.image, digits) for found in seen(sheet)]
    assert read == [digit for line in lines for digit in line]


def test_a_thin_digit_one_is_not_stretched_to_the_box():
    sheet = page()
    sheet[60:160, 150:154] = PEN
    (found,) = seen(sheet)
    assert found.box == (150, 60, 4, 100)
    rows, columns = np.flatnonzero(found.image.any(1)), np.flatnonzero(found.image.any(0))
    assert (len(rows), rows[0]) == (20, 4)
    assert len(columns) <= 4
    assert 12 <= columns[0] <= columns[-1] <= 15


def test_thin_pen_lines_are_widened_to_those_of_mnist():
    sheet = page()
    sheet[60:160, 120:122] = sheet[60:62, 120:180] = sheet[60:160, 178:180] = PEN
    (found,) = seen(sheet)
    ink = found.image / 255
    assert ink.max() > 0.9
    assert 2 <= ink[14].sum() / 2 <= 3  # two lines cross the middle row


def test_a_five_keeps_its_detached_bar():
    sheet = page()
    sheet[70:76, 120:160] = PEN  # the bar
    sheet[84:110, 118:124] = sheet[104:110, 118:156] = PEN
    sheet[104:150, 150:156] = sheet[144:150, 112:156] = PEN
    assert boxes(sheet) == [(112, 70, 48, 80)]


def test_a_four_of_two_separate_strokes_is_one_digit():
    sheet = page()
    sheet[60:110, 100:106] = sheet[104:110, 100:140] = PEN
    sheet[60:150, 142:148] = PEN
    assert boxes(sheet) == [(100, 60, 48, 90)]


def test_an_interrupted_pen_line_is_one_digit():
    sheet = page()
    sheet[60:100, 150:156] = sheet[105:150, 150:156] = PEN
    assert boxes(sheet) == [(150, 60, 6, 90)]


def test_a_digit_almost_touching_the_one_below_stays_separate():
    sheet = page()
    sheet[60:120, 250:256] = PEN
    sheet[60:120, 150:156] = sheet[126:186, 150:156] = PEN
    assert boxes(sheet) == [(150, 60, 6, 60), (250, 60, 6, 60), (150, 126, 6, 60)]


def test_a_four_with_strokes_far_apart_is_one_digit():
    sheet = page()
    sheet[60:150, 150:156] = sheet[144:150, 100:156] = PEN
    sheet[60:128, 120:126] = PEN
    assert boxes(sheet) == [(100, 60, 56, 90)]


def test_a_partly_faint_line_is_found_completely():
    sheet = page()
    sheet[60:150, 150:156] = PEN
    sheet[110:150, 150:156] = PAPER - 0.6 * (PAPER - PEN)
    assert boxes(sheet) == [(150, 60, 6, 90)]


def test_adjacent_slanting_digits_are_cut_out_separately():
    sheet = page()
    for step in range(90):
        for start in (100, 130):
            sheet[60 + step, start + step // 2 : start + step // 2 + 6] = PEN
    one, other = seen(sheet)
    assert one.box[0] + one.box[2] > other.box[0]
    np.testing.assert_array_equal(one.image, other.image)


def test_two_ones_side_by_side_are_two_digits():
    sheet = page()
    sheet[60:150, 140:146] = sheet[60:150, 156:162] = PEN
    assert boxes(sheet) == [(140, 60, 6, 90), (156, 60, 6, 90)]


def test_dirt_dashes_and_ruled_lines_are_not_digits():
    sheet = page()
    sheet[60:150, 140:146] = PEN
    sheet[100:104, 100:125] = PEN  # a minus sign
    sheet[190:193, 10:310] = PEN  # a line under it
    sheet[200:214, 40:54] = PEN  # a blot
    sheet[20:24, 280:284] = PEN
    sheet[:, 250:252] *= 0.9  # a line of the sheet
    assert boxes(sheet) == [(140, 60, 6, 90)]


def test_struck_out_writing_is_not_a_digit():
    sheet = page()
    sheet[60:150, 140:146] = sheet[60:150, 100:106] = PEN
    sheet[80:112, 180:290] = PEN
    assert boxes(sheet) == [(100, 60, 6, 90), (140, 60, 6, 90)]


def test_a_short_line_below_a_digit_is_not_included():
    sheet = page()
    sheet[60:150, 140:146] = PEN
    sheet[172:176, 125:160] = PEN
    assert boxes(sheet) == [(140, 60, 6, 90)]


def test_writing_that_shines_through_the_sheet_is_not_read(digits):
    sheet = page()
    write(sheet, digits[3], x=40, y=60, side=84)
    write(sheet, digits[8], x=180, y=60, side=84, pen=PAPER - 0.2 * (PAPER - PEN))
    assert [nearest(found.image, digits) for found in seen(sheet)] == [3]


def test_the_edge_of_the_table_is_not_a_digit_one(digits):
    sheet = page()
    write(sheet, digits[3], x=100, y=60, side=84)
    sheet[:, :7] = PEN
    assert [nearest(found.image, digits) for found in seen(sheet)] == [3]


def test_a_photo_cropped_to_one_digit_is_read(digits):
    for number, image in enumerate(digits):
        sheet = page(112, 112)
        write(sheet, image, x=0, y=0, side=112)
        rows, columns = np.nonzero(sheet < PAPER - 20)
        crop = sheet[rows.min() - 2 : rows.max() + 3, columns.min() - 2 : columns.max() + 3]
        for cropped in (crop, 255 - crop):
            assert [nearest(found.image, digits) for found in seen(cropped)] == [number]


def test_noise_in_a_deep_shadow_is_not_ink(digits):
    sheet = page()
    write(sheet, digits[3], x=40, y=60, side=84)
    sheet[:, 180:] = 12 + np.random.default_rng(0).integers(-3, 4, (240, 140))
    assert [nearest(found.image, digits) for found in seen(sheet)] == [3]


def test_shadows_and_a_dark_table_are_not_digits(digits):
    sheet = page()
    for number, digit in enumerate((5, 2)):
        write(sheet, digits[digit], x=60 + 110 * number, y=70, side=84)
    sheet[:, 130:] *= 0.5  # a hard shadow through both
    sheet *= np.linspace(0.7, 1, sheet.shape[0])[:, None]
    table = page(360, 440, light=40)
    table[60:300, 60:380] = sheet
    assert [nearest(found.image, digits) for found in seen(sheet)] == [5, 2]
    assert [nearest(found.image, digits) for found in seen(table)] == [5, 2]


def test_the_grain_of_an_empty_page_is_not_a_digit():
    grain = np.random.default_rng(0)
    sheet = page() * np.linspace(0.5, 1, 320) + grain.normal(0, 4, (240, 320))
    assert seen(np.clip(sheet, 0, 255)) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 500), (500, 1), (240, 320)])
@pytest.mark.parametrize("light", [0, 128, 255])
def test_a_page_of_one_colour_has_no_digits(shape, light):
    assert find_digits(np.full(shape, light, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1), (7, 200_000), (9, 40_000)])
def test_long_thin_pictures_have_no_digits(shape):
    grey = np.full(shape, 255, np.uint8)
    grey[::3] = 0
    assert find_digits(grey) == []


def test_a_long_line_of_small_digits_is_read(digits):
    sheet = page(60, 24_000)
    expected = [number % 10 for number in range(20)]
    for number, digit in enumerate(expected):
        write(sheet, digits[digit], x=40 + 1200 * number, y=10, side=40)
    assert [nearest(found.image, digits) for found in seen(sheet)] == expected


@pytest.mark.parametrize("shape", [(1, 60), (3, 40), (12, 50)])
def test_a_window_that_is_cut_off_finds_the_same(shape):
    grey = np.random.default_rng(0).random(shape, np.float32)
    for window in (3, 25, 81, 201):
        expected = ndimage.grey_closing(grey, (window, window), mode="nearest")
        cut_off = ndimage.grey_closing(grey, ink._window(grey, window), mode="nearest")
        np.testing.assert_array_equal(cut_off, expected)


@pytest.mark.parametrize("checks", [1, 5, 20, 60])
def test_the_search_ends_at_the_deadline_at_any_point(checks):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    times = iter(range(10**6))
    with pytest.raises(DeadlineError):
        find_digits(noise, deadline=Deadline(checks, clock=lambda: next(times)))


def test_noise_is_not_read_as_digits():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    assert len(find_digits(noise)) < 20


@pytest.mark.parametrize("module", [ink, photo])
def test_the_examples_are_true(module):
    assert doctest.testmod(module).failed == 0
