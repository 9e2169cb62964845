import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.plugins.image import metadata
from tensorboard.util.tensor_util import make_ndarray

from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.lettering import LINE_PIXELS, mask


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def test_a_picture_is_written_as_png_with_its_size():
    picture = Image.new("RGB", (3, 2), (1, 2, 3))
    (value,) = drawing.image_summary("tag", picture, description="what").value
    assert (value.tag, value.metadata.summary_description) == ("tag", "what")
    assert value.metadata.plugin_data.plugin_name == metadata.PLUGIN_NAME
    width, height, png = make_ndarray(value.tensor)
    assert (width, height) == (b"3", b"2")
    np.testing.assert_array_equal(pixels(Image.open(io.BytesIO(png))), pixels(picture))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (np.array([[[0, 7, 255]]], np.uint8), [[[0, 7, 255]]]),
        (np.array([[[0.0, 0.5, 1.0]]]), [[[0, 128, 255]]]),
        (np.array([[[0.25, 0.5]]]), [[[64, 128]]]),
        (np.array([[[-1.0, 0.0, 1.0]]]), [[[0, 128, 255]]]),
        (np.array([[[0.0, 10.0]]]), [[[0, 255]]]),
        (np.array([[[np.nan, 1.0]]]), [[[0, 255]]]),
        (np.ones((1, 2, 2, 1)), np.full((1, 2, 2), 255)),
        (np.ones((1, 2, 2, 3)), np.full((1, 2, 2, 3), 255)),
    ],
)
def test_all_numbers_map_to_pixels(numbers, expected):
    found = drawing.gray(numbers)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_numbers_around_zero_are_red_white_and_blue():
    numbers = np.array([[[-2.0, -1.0, 0.0, 1.0, 2.0, np.nan]]])
    picture = drawing.grid(drawing.signed(numbers), columns=1, palette=drawing.SIGNED)
    row = pixels(picture)[drawing._GAP_PIXELS + 1, drawing._GAP_PIXELS + 1 :: 14][:6].astype(int)
    red, light_red, white, light_blue, blue, nothing = row
    np.testing.assert_array_equal(red, (178, 24, 43))
    np.testing.assert_array_equal(blue, (33, 102, 172))
    np.testing.assert_array_equal([white, nothing], [[255] * 3] * 2)
    np.testing.assert_allclose(light_red, (red + white) / 2, atol=4)
    np.testing.assert_allclose(light_blue, (blue + white) / 2, atol=4)
    assert drawing.signed(np.zeros((1, 1, 1))).item() == drawing.signed(numbers)[0, 0, 2]


def test_colour_images_keep_their_colours_and_captions_are_black():
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3)).astype(np.uint8)
    found = pixels(drawing.grid(images, ["gg", "gg"], columns=2))
    for number, image in enumerate(images):
        tile = found[6:90, 6 + 90 * number :][:, :84]
        np.testing.assert_array_equal(tile[::3, ::3], image)
    below = found[90:]
    assert (below == below[..., :1]).all()
    assert below.min() < 100


@pytest.mark.parametrize("lines", [["cat", "Ankle boot: 100%"], ["is " + "w" * 99, "gj"]])
def test_captions_do_not_overlap(lines):
    images = np.full((4, 28, 28), 255, np.uint8)
    alone = pixels(drawing.grid(images[:1], ["\n".join(lines)], columns=1))
    found = pixels(drawing.grid(images, ["\n".join(lines)] * 4, columns=4))
    step = (found.shape[1] - 6) // 4
    for column in range(4):
        part = found[:, column * step : column * step + alone.shape[1]]
        np.testing.assert_array_equal(part, alone)
    assert alone[:, -12:].min() == 255, "between two captions lies a gap"


def test_images_are_in_rows_with_captions_below():
    images = np.stack([np.full((28, 28), shade, np.uint8) for shade in (0, 60, 120, 180, 240)])
    with_captions = pixels(drawing.grid(images, ["a\nb"] * 5, columns=3))
    bare = pixels(drawing.grid(images, columns=3))
    assert bare.shape == (2 * 90 + 6, 3 * 90 + 6, 3)
    middles = [bare[6 + 42 + 90 * row, 6 + 42 + 90 * column, 0] for row, column in np.ndindex(2, 3)]
    assert middles == [0, 60, 120, 180, 240, 255]
    below = with_captions[6 + 84 : 6 + 84 + 30]
    assert with_captions.shape[0] > bare.shape[0]
    assert below.min() < 100


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (25, 5, 5), (2, 600, 900), (25, 1, 1), (3, 8, 8, 3)]
)
def test_a_grid_has_a_maximum_size(shape):
    picture = drawing.grid(np.zeros(shape, np.uint8), ["x" * 99] * shape[0], columns=5)
    assert picture.width <= 5 * 180 + 10
    assert picture.height <= 5 * 200 + 10
    assert len(drawing.png(picture)) < 100_000


def test_a_matrix_shows_its_shades_and_texts():
    shades = [[0.0, 1.0], [np.nan, 0.5]]
    texts = [["0", "1"], ["2", "3"]]
    names = {"row_names": ["a", "b"], "column_names": ["c", "d"], "title": "title"}
    blank = pixels(drawing.matrix([[""] * 2] * 2, shades, **names)).astype(int)
    written = pixels(drawing.matrix(texts, shades, **names)).astype(int)
    left, top = blank.shape[1] - 12, blank.shape[0] - 6
    cells = [blank[top - 80 + 40 * i + 3, :, 0] for i in range(2)]
    assert cells[0].min() == 33, "a full cell is blue"
    assert cells[1].min() in range(140, 150), "a half one is half as blue"
    assert np.abs(written - blank).max() > 100
    assert left > 0


def cells_of(picture, *, classes, cell):
    """The dark pixels above the cells of a matrix, beside them, and in them."""
    dark = pixels(picture).min(-1) < 128
    top, left = picture.height - 6 - classes * cell, picture.width - 12 - classes * cell
    title = 6 + LINE_PIXELS
    return dark[title:top, left:-12], dark[top:-6, :left], dark[top:-6, left:-12]


def table(text, *, names):
    count = len(names)
    shades = np.zeros((count, count))
    title = "title"
    return drawing.matrix(
        [[text] * count] * count, shades, row_names=names, column_names=names, title=title
    )


@pytest.mark.parametrize("text", ["7", "100", "1051", "1234567"])
@pytest.mark.parametrize("classes", [2, 20])
def test_a_number_is_centred_in_its_cell(text, classes):
    cell = max(40 if classes == 2 else 26, mask(text).width + 4)
    _, _, dark = cells_of(table(text, names="a" * classes), classes=classes, cell=cell)
    assert dark.shape == (classes * cell, classes * cell)
    for row, column in np.ndindex(classes, classes):
        inside = dark[row * cell :, column * cell :][:cell, :cell]
        for axis in (0, 1):
            places = np.flatnonzero(inside.any(axis))
            assert abs((places[0] + places[-1]) / 2 - (cell - 1) / 2) <= 1.5
            assert 0 < places[0] <= places[-1] < cell - 1


@pytest.mark.parametrize("name", ["9", "recall", "Ankle boot", "golden retriever, long haired" * 3])
@pytest.mark.parametrize("classes", [2, 10, 30])
def test_names_do_not_touch_cells_or_each_other(name, classes):
    cell = 40 if classes < 13 else 26
    picture = table("", names=[name] * classes)
    above, beside, _ = cells_of(picture, classes=classes, cell=cell)
    assert not above[-2:].any()
    assert not beside[:, -4:].any()
    for number in range(classes):
        head, side = above[:, number * cell :][:, :cell], beside[number * cell :][:cell]
        assert head.any()
        assert side.any()
        assert not head[:, [0, -1]].any()
        assert not side[[0, -1]].any()


@pytest.mark.parametrize("classes", [2, 10, 30, 100, 1000])
def test_a_matrix_has_a_maximum_size(classes):
    names = [str(number) for number in range(classes)]
    picture = drawing.matrix(
        [["1"] * classes] * classes,
        np.zeros((classes, classes)),
        row_names=names,
        column_names=names,
        title="title",
    )
    # Names for each class and room for numbers in each cell need more pixels.
    most = 26 * classes + 60 if 20 < classes <= 40 else 600
    assert max(picture.size) <= max(most, classes + 60)


def test_a_sprite_is_a_square_of_uncut_images():
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 6), np.uint8)
    picture, size = drawing.sprite(images)
    assert (picture.size, size) == ((18, 12), (6, 4))
    found = np.asarray(picture)[::4, ::6]
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 0], [0, 0, 0]][:3])
    assert drawing.sprite(np.zeros((1, 500, 500, 3), np.uint8))[0].size == (64, 64)


def test_the_same_numbers_give_the_same_bytes():
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
    first, second = (drawing.png(drawing.grid(images, ["a"] * 6, columns=3)) for _ in range(2))
    assert first == second
    assert drawing.note("none").width > 20
