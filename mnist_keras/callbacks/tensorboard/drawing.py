"""Pictures for TensorBoard, drawn with Pillow: bounded in size and deterministic."""

import io
import math

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.image import metadata
from tensorboard.util.tensor_util import make_tensor_proto

from mnist_keras.callbacks.tensorboard.lettering import LINE_PIXELS, fitted, mask, write

_TILE_PIXELS = 84
_GAP_PIXELS = 6
_MATRIX_PIXELS, _MOST_CELL_PIXELS = 520, 40
_MOST_CELLS_WITH_TEXT, _LEAST_CELL_PIXELS_WITH_TEXT = 40, 26
_MOST_NAME_PIXELS = 160
_PAPER, _SHADE, _INK = 255, 110, 0  # As grays.
_WHITE, _BLUE, _RED, _BLACK = (255, 255, 255), (33, 102, 172), (178, 24, 43), (0, 0, 0)
_SHADES = 31  # On each side of 0. More shades cost bytes, and the eye cannot tell them apart.


def image_summary(tag, picture, *, description=""):
    """A picture in the format of TensorBoard's images dashboard.

    Args:
        tag: the picture's tag.
        picture: a Pillow image.
        description: Markdown, shown beside the picture.

    Returns:
        A ``Summary``.
    """
    texts = [str(picture.width).encode(), str(picture.height).encode(), png(picture)]
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=metadata.create_summary_metadata(display_name="", description=description),
        tensor=make_tensor_proto(texts, dtype=np.object_),
    )
    return summary


def gray(images):
    """Converts numbers to pixels: uint8 stays unchanged, all others are scaled to [0, 255].

    The scale maps 0 to 0 and 1 to 255. If numbers lie outside [0, 1], it extends to the smallest
    and the largest of them.

    Args:
        images: (n, height, width), or with a last axis of one or three channels.

    Returns:
        uint8 of the same shape; a channel axis of length 1 is removed.
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.dtype == np.uint8:
        return images
    images = np.nan_to_num(images.astype(np.float32))
    least, most = min(images.min(), 0.0), max(images.max(), 1.0)
    return np.round((images - least) / (most - least) * 255).astype(np.uint8)


def signed(images):
    """Converts signed numbers to indices into the palette `SIGNED`.

    White is 0, blue is positive, red is negative. The largest magnitude has the full colour.

    Args:
        images: (n, height, width).

    Returns:
        uint8 of the same shape, from 0 to 62; 31 is white.
    """
    images = np.nan_to_num(np.asarray(images, np.float32))
    strength = images / max(np.abs(images).max(), np.finfo(np.float32).tiny)
    return np.round(strength * _SHADES + _SHADES).astype(np.uint8)


def grid(images, captions=None, *, columns, palette=None, tile_pixels=_TILE_PIXELS):
    """Arranges thumbnails in a grid, each with a caption below it.

    Args:
        images: uint8 (n, height, width) or (n, height, width, 3).
        captions: one text per image, of one or several lines; None: no captions. A line wider than
            two images is shortened in the middle.
        columns: images per row.
        palette: red, green and blue of the values 0 to 255, 768 numbers; None: grays.
        tile_pixels: approximate length of an image's longer side; no side exceeds twice this.

    Returns:
        A Pillow image.
    """
    captions = [""] * len(images) if captions is None else captions
    scale = max(1, tile_pixels // max(images.shape[1:3]))
    height, width = (max(1, min(side * scale, 2 * tile_pixels)) for side in images.shape[1:3])
    texts = [
        [fitted(line, 2 * tile_pixels) for line in caption.splitlines()] for caption in captions
    ]
    widest = max((mask(line).width for lines in texts for line in lines), default=0)
    step_x = max(width, widest + _GAP_PIXELS) + _GAP_PIXELS
    step_y = height + _GAP_PIXELS + max(map(len, texts)) * LINE_PIXELS
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = (rows * step_y + _GAP_PIXELS, columns * step_x + _GAP_PIXELS)
    canvas = np.full((*size, *images.shape[3:]), _PAPER, np.uint8)
    places = [
        (_GAP_PIXELS + number % columns * step_x, _GAP_PIXELS + number // columns * step_y)
        for number in range(len(images))
    ]
    for tile, (x, y) in zip(_resized(images, height, width), places, strict=True):
        canvas[y : y + height, x : x + width] = tile
    picture = Image.fromarray(canvas)
    for lines, (x, y) in zip(texts, places, strict=True):
        for row, line in enumerate(lines):
            write(picture, (x, y + height + row * LINE_PIXELS), line, _INK)
    if picture.mode == "L":
        picture.putpalette(palette or _GRAYS)
    return picture


def sprite(images, *, most_pixels=64):
    """Joins images into one square, row by row without gaps, for TensorBoard's projector.

    Args:
        images: uint8 (n, height, width) or (n, height, width, 3).
        most_pixels: a longer side is reduced to this length.

    Returns:
        (a Pillow image, the (width, height) of one tile).
    """
    height, width = (min(side, most_pixels) for side in images.shape[1:3])
    columns = math.isqrt(len(images) - 1) + 1
    picture = Image.new("RGB" if images.ndim == 4 else "L", (columns * width, columns * height))
    for number, image in enumerate(images):
        tile = Image.fromarray(image).resize((width, height))
        picture.paste(tile, (number % columns * width, number // columns * height))
    return picture, (width, height)


def png(picture):
    """A Pillow image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # The highest level takes ten times as long.
    return buffer.getvalue()


def matrix(texts, shades, *, row_names, column_names, title):
    """A table with shaded cells.

    Args:
        texts: the text of each cell, rows of strings.
        shades: how dark each cell is, 0 to 1, (rows, columns).
        row_names, column_names: the texts at the left and at the top.
        title: the line at the top of the picture.

    Returns:
        A Pillow image. With more than 40 rows or columns it has no texts and no names.
    """
    rows, columns = np.shape(shades)
    cell = max(1, min(_MOST_CELL_PIXELS, _MATRIX_PIXELS // max(rows, columns)))
    has_texts = max(rows, columns) <= _MOST_CELLS_WITH_TEXT
    if has_texts:
        widest = max(mask(text).width for row in texts for text in row)
        cell = max(cell, _LEAST_CELL_PIXELS_WITH_TEXT, widest + 4)
    else:
        row_names = column_names = [""]
    row_names, column_names = (
        [fitted(name, _MOST_NAME_PIXELS) for name in names] for names in (row_names, column_names)
    )
    left, above = (
        max(mask(name).width for name in names) + _GAP_PIXELS for names in (row_names, column_names)
    )
    is_upright = above - _GAP_PIXELS > cell - 2
    above = above if is_upright else LINE_PIXELS
    left, top = left + _GAP_PIXELS, LINE_PIXELS + 2 * _GAP_PIXELS + above
    width = max(left + columns * cell, mask(title).width) + 2 * _GAP_PIXELS
    picture = Image.new("L", (width, top + rows * cell + _GAP_PIXELS), _PAPER)
    write(picture, (_GAP_PIXELS, _GAP_PIXELS), title, _INK)
    shades = np.clip(np.nan_to_num(np.asarray(shades, np.float32)), 0, 1)
    grays = np.round(_PAPER + shades * (_SHADE - _PAPER)).astype(np.uint8)
    cells = Image.fromarray(grays).resize((columns * cell, rows * cell), Image.Resampling.NEAREST)
    picture.paste(cells, (left, top))
    if has_texts:
        for row, column in np.ndindex(rows, columns):
            ink = _PAPER if shades[row, column] > 0.5 else _INK
            centre = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
            write(picture, centre, texts[row][column], ink, anchor=(0.5, 0.5))
    for row, name in enumerate(row_names):
        end = (left - _GAP_PIXELS, top + (row + 0.5) * cell)
        write(picture, end, name, _INK, anchor=(1, 0.5))
    for column, name in enumerate(column_names):
        foot = (left + (column + 0.5) * cell, top - (_GAP_PIXELS if is_upright else 0))
        write(picture, foot, name, _INK, anchor=(0.5, 1), is_upright=is_upright)
    picture.putpalette(_BLUES)
    return picture


def note(text):
    """A line of text instead of a picture."""
    size = (mask(text).width + 2 * _GAP_PIXELS, LINE_PIXELS + 2 * _GAP_PIXELS)
    picture = Image.new("L", size, _PAPER)
    write(picture, (_GAP_PIXELS, _GAP_PIXELS), text, _INK)
    return picture


def _resized(images, height, width):
    """Nearest-neighbour resampling of each image to (height, width)."""
    rows, columns = (
        np.arange(new) * old // new
        for new, old in zip((height, width), images.shape[1:3], strict=True)
    )
    return images[:, rows][:, :, columns]


def _palette(stops):
    """Red, green and blue of the values 0 to 255, interpolated linearly between the stops."""
    numbers = list(stops)
    channels = zip(*stops.values(), strict=True)
    columns = [np.interp(range(256), numbers, channel) for channel in channels]
    return np.round(np.stack(columns, axis=1)).astype(int).ravel().tolist()


SIGNED = _palette({0: _RED, _SHADES: _WHITE, 2 * _SHADES: _BLUE, 2 * _SHADES + 1: _WHITE})
_GRAYS = _palette({0: _BLACK, 255: _WHITE})  # A PNG with a palette takes half the time to write.
_BLUES = _palette({_INK: _BLACK, _SHADE: _BLUE, _PAPER: _WHITE})
