import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.plugins.image import metadata
from tensorboard.util.tensor_util import make_ndarray

from mnist_keras import drawing


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def test_a_picture_goes_to_tensorboard_with_its_size_as_png():
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
def test_any_numbers_become_pixels(numbers, expected):
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


def test_images_stand_row_by_row_with_their_captions_below():
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
def test_a_grid_is_bounded(shape):
    picture = drawing.grid(np.zeros(shape, np.uint8), ["x" * 99] * shape[0], columns=5)
    assert picture.width <= 5 * 180 + 10
    assert picture.height <= 5 * 200 + 10
    assert len(drawing.png(picture)) < 100_000


def test_a_matrix_is_as_dark_as_its_shades_and_says_its_texts():
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


@pytest.mark.parametrize("classes", [2, 10, 30, 100, 1000])
def test_a_matrix_is_bounded(classes):
    names = [str(number) for number in range(classes)]
    picture = drawing.matrix(
        [["1"] * classes] * classes,
        np.zeros((classes, classes)),
        row_names=names,
        column_names=names,
        title="title",
    )
    assert max(picture.size) <= max(600, classes + 60)


def test_a_sprite_is_a_square_of_whole_images():
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
