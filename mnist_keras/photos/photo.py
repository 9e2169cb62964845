"""Finds the digits on a photo of handwriting and prepares each as MNIST's were.

MNIST's preparation: the digit, white on black with grey edges, is scaled to fit a box of 20x20
pixels without changing its aspect ratio, and placed in a field of 28x28 pixels with its centre of
mass in the middle. Source: http://yann.lecun.com/exdb/mnist.
"""

import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage, spatial

from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.inputs.deadline import Deadline
from mnist_keras.photos.ink import find_ink

_BOX_PIXELS = 20
_THINNEST_PIXELS = 2.4  # In the box; three of four lines in MNIST are wider.

# Relative to the strength of the ink that `find_ink` measures:
_LEAST_STRENGTH = 0.1  # Weaker is not ink.
_NOISE_DEVIATIONS = 6  # Grain of the background up to this many deviations is not ink,
_MOST_GRAIN = 0.25  # but at most this: half of a cropped digit may be ink.
_OVER_GRAIN = 1.4  # A line is at least this many times stronger.
_FAINT = 0.4  # Of the photo's usual ink; weaker are the back page's writing, ruled lines, dirt.
_EDGE = 0.4  # Of the strength of a line; there it ends.

# Relative to the usual height of a digit on the photo:
_BODY = 0.5  # A piece of this height may be a digit; a smaller one is part of a digit.
_SMALLEST_DIGIT = 0.35
_TALLEST_STACK = 1.4  # Up to this height two pieces above each other are one digit.
_TALLEST_DIGIT = 1.7  # Of two pieces, where a third piece shows the usual height.
_BREAK = 0.15  # Between the pieces of a broken line.
_TOUCH = 0.05  # Between pieces of one digit side by side.
_BAR_GAP = 0.35  # Between a 5 and its bar.

_ABOVE_EACH_OTHER = 0.5  # Shared by two pieces, of the narrower one's width.
_SAME_LINE = 0.5  # Shared by two digits, of the lower one's height.
_FLATTEST_DIGIT = 3.0  # Width by height; more is a dash or a ruled line.
_ALONG_EDGE = 0.8  # Of a digit's longer side; more is a table or a finger.
_LEAST_HEIGHT_PIXELS = 8  # Smaller digits cannot be read.
_MOST_PIECES = 1000  # More than on a page of digits, but fewer than in gravel.
_EIGHT = np.ones((3, 3))  # Pixels that touch at a corner are connected.


@dataclasses.dataclass(frozen=True, eq=False)
class Digit:
    """One digit of a photo.

    Attributes:
        box: (x, y, width, height) in pixels of the photo.
        image: uint8 (28, 28), ink up to 255 on 0, as in MNIST.
    """

    box: tuple
    image: np.ndarray


def find_digits(grey: npt.NDArray[np.uint8], *, deadline: Deadline | None = None) -> list[Digit]:
    """Finds the digits on a photo, in reading order, line by line.

    Digits that touch each other count as one. Pieces of less than about a third of the usual height
    count as dirt.

    Args:
        grey: uint8 (height, width), dark ink on light or light ink on dark, upright.
        deadline: limits the time.

    Returns:
        A list of `Digit`; empty: there are none.

    Raises:
        DeadlineError: the deadline is over.

    Example:

    >>> import numpy as np
    >>> grey = np.full((60, 90), 230, np.uint8)
    >>> grey[10:50, 20:24] = grey[10:50, 60:64] = 40
    >>> [digit.box for digit in find_digits(grey)]
    [(20, 10, 4, 40), (60, 10, 4, 40)]
    """
    check = (deadline or Deadline()).check
    if grey.shape[0] < _LEAST_HEIGHT_PIXELS or grey.shape[1] == 1:
        return []  # Too low for a digit, or all ink would lie along the edge.
    ink = find_ink(grey, check=check)
    strength, labels = _lines(ink)
    found = _digits(_pieces(labels, check), labels.shape, check)
    digits = []
    for shape in _reading_order(found):
        check()
        digits.append(Digit(box=shape.box, image=_prepared(ink, strength, labels, shape)))
    return digits


@dataclasses.dataclass(frozen=True, eq=False)
class _Shape:
    """Some pieces of ink: their numbers, bounding box, area in pixels and outline pixels."""

    numbers: tuple
    left: int
    top: int
    right: int
    bottom: int
    area: int
    outline: np.ndarray

    @property
    def width(self):
        return self.right - self.left

    @property
    def height(self):
        return self.bottom - self.top

    @property
    def box(self):
        return (self.left, self.top, self.width, self.height)

    def __or__(self, other):
        return _Shape(
            self.numbers + other.numbers,
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
            self.area + other.area,
            np.concatenate([self.outline, other.outline]),
        )

    def gap(self, other):
        """The distance in pixels between the ink of both."""
        small, large = sorted((self, other), key=lambda shape: len(shape.outline))
        return large._tree.query(small.outline)[0].min()

    @functools.cached_property
    def _tree(self):
        return spatial.KDTree(self.outline)

    def box_gap(self, other):
        """A lower bound of `gap` that is faster: a distance between the boxes."""
        across = max(self.left, other.left) - min(self.right, other.right)
        down = max(self.top, other.top) - min(self.bottom, other.bottom)
        return max(across, down, 0)

    def shared_width(self, other):
        """The share of the narrower one's width that both cover, at most 1; 0 or less: none."""
        shared = min(self.right, other.right) - max(self.left, other.left)
        return shared / min(self.width, other.width)

    def shared_height(self, other):
        """The share of the lower one's height that both cover, at most 1; 0 or less: none."""
        shared = min(self.bottom, other.bottom) - max(self.top, other.top)
        return shared / min(self.height, other.height)


def _lines(ink):
    """The strength of the ink on lines, 0 elsewhere, and labels of the connected pieces, from 1."""
    grain = np.median(ink)
    grain += _NOISE_DEVIATIONS * 1.48 * np.median(np.abs(ink - grain))  # 1.48: normal distribution.
    least = np.clip(grain, _LEAST_STRENGTH, _MOST_GRAIN)
    blobs, count = ndimage.label(ink > least, _EIGHT)
    if not count:
        return np.zeros_like(ink), blobs
    numbers = np.arange(count + 1)
    peaks = ndimage.maximum(ink, blobs, numbers)
    cores = np.where(ink > peaks[blobs] / 2, blobs, 0)
    strengths = ndimage.mean(ink, cores, numbers)
    areas = np.bincount(cores.ravel(), minlength=count + 1)
    strengths[0] = areas[0] = 0
    usual = _weighted_median(strengths, areas)
    strengths[strengths < max(_FAINT * usual, _OVER_GRAIN * least)] = 0
    strength = strengths[blobs].astype(np.float32)
    return strength, ndimage.label((strength > 0) & (ink > _EDGE * strength), _EIGHT)[0]


def _pieces(labels, check):
    """The connected pieces as shapes, the largest first."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    slices = ndimage.find_objects(labels)
    shapes = []
    for number in np.argsort(-areas, kind="stable")[:_MOST_PIECES]:
        if areas[number]:
            check()
            rows, columns = slices[number - 1]
            ink = labels[rows, columns] == number
            outline = np.argwhere(ink & ~ndimage.binary_erosion(ink))
            box = columns.start, rows.start, columns.stop, rows.stop
            outline += (rows.start, columns.start)
            shapes.append(_Shape((int(number),), *box, int(areas[number]), outline))
    return shapes


def _digits(shapes, size, check):
    """The pieces joined to digits; other pieces are left out."""
    shapes = [shape for shape in shapes if not _lies_along_edge(shape, size)]
    usual = 0
    while shapes:
        usual = _usual_height(shapes)
        joined = _join_parts(_join_bodies(shapes, usual, check), usual, check)
        if len(joined) == len(shapes):
            break
        shapes = joined
    return [shape for shape in shapes if _may_be_digit(shape, usual)]


def _may_be_digit(shape, usual):
    least = max(_SMALLEST_DIGIT * usual, _LEAST_HEIGHT_PIXELS)
    return shape.height >= least and not _is_flat(shape)


def _is_flat(shape):
    return shape.width > _FLATTEST_DIGIT * shape.height


def _usual_height(shapes):
    counting = [shape for shape in shapes if not _is_flat(shape)] or shapes
    heights, areas = np.array([(shape.height, shape.area) for shape in counting]).T
    return _weighted_median(heights, areas)


def _join_bodies(shapes, usual, check):
    """Join pieces inside or above each other up to the height of a digit."""
    shapes, joined = list(shapes), []
    tallest = _TALLEST_DIGIT * usual if len(shapes) > 2 else math.inf
    while shapes:
        shape = shapes.pop(0)
        for other in shapes:
            check()
            if _are_one_digit(shape, other, usual, tallest):
                shapes.remove(other)
                shapes.insert(0, shape | other)
                break
        else:
            joined.append(shape)
    return joined


def _are_one_digit(shape, other, usual, tallest):
    if min(shape.height, other.height) < _BODY * usual:
        return False
    near = _BREAK if shape.shared_width(other) >= _ABOVE_EACH_OTHER else _TOUCH
    height = max(shape.bottom, other.bottom) - min(shape.top, other.top)
    if height > tallest:
        return False
    if shape.box_gap(other) <= near * usual and shape.gap(other) <= near * usual:
        return True
    return near == _BREAK and height <= _TALLEST_STACK * usual


def _join_parts(shapes, usual, check):
    """Join pieces too small for a digit to the nearest piece of the same digit."""
    shapes = sorted(shapes, key=lambda shape: shape.height)
    joined = []
    while shapes:
        check()
        part = shapes.pop(0)
        if part.height >= _BODY * usual:
            joined.append(part)
            continue
        near = [other for other in shapes if part.box_gap(other) <= _BAR_GAP * usual]
        gaps = {other: part.gap(other) for other in near}
        nearest = min(near, key=gaps.__getitem__, default=None)
        if nearest is not None and (
            gaps[nearest] <= _BREAK * usual or _is_bar(part, nearest, gaps[nearest], usual)
        ):
            shapes[shapes.index(nearest)] = part | nearest
        else:
            joined.append(part)
    return joined


def _is_bar(part, body, gap, usual):
    """Whether the part is the bar of a 5 above its body."""
    above = part.top + part.bottom < body.top + body.bottom
    return (
        gap <= _BAR_GAP * usual
        and above
        and body.height >= _BODY * usual
        and part.shared_width(body) >= _ABOVE_EACH_OTHER
    )


def _lies_along_edge(shape, size):
    height, width = size
    rows, columns = shape.outline.T
    along = max(
        np.count_nonzero(rows == 0),
        np.count_nonzero(rows == height - 1),
        np.count_nonzero(columns == 0),
        np.count_nonzero(columns == width - 1),
    )
    return along > _ALONG_EDGE * max(shape.width, shape.height)


def _reading_order(shapes):
    """Lines from top to bottom, each from left to right; lines may slope."""
    lines: list[list[_Shape]] = []
    for shape in sorted(shapes, key=lambda shape: shape.left):
        line = max(lines, key=lambda line: line[-1].shared_height(shape), default=None)
        if line is None or line[-1].shared_height(shape) < _SAME_LINE:
            lines.append([shape])
        else:
            line.append(shape)
    lines.sort(key=lambda line: sum(shape.top + shape.bottom for shape in line) / len(line))
    return [shape for line in lines for shape in line]


def _prepared(ink, strength, labels, shape):
    """The digit as in MNIST, with its line thickened to the width of MNIST's lines."""
    scale = _BOX_PIXELS / max(shape.width, shape.height)
    pad = 1 + math.ceil(_THINNEST_PIXELS / scale)
    rows, columns = slice(shape.top, shape.bottom), slice(shape.left, shape.right)
    line = np.pad(np.isin(labels[rows, columns], shape.numbers), pad)
    level = strength[rows, columns][line[pad:-pad, pad:-pad]].mean()
    shade = np.pad(np.minimum(ink[rows, columns] / level, 1), pad)
    shade[~ndimage.binary_dilation(line, _EIGHT)] = 0
    missing = _THINNEST_PIXELS / scale - _line_width(line)
    if missing > 0:
        distance = ndimage.distance_transform_edt(~line)
        shade = np.maximum(shade, np.clip(1 + missing / 2 - distance, 0, 1))
        line = distance <= missing / 2
    return _centred(_scaled_to_box(shade.astype(np.float32), line))


def _line_width(line):
    """The width of a line in pixels: its area divided by its length, half its edge pixels."""
    at_edge = line & ~ndimage.binary_erosion(line)
    return 2 * np.count_nonzero(line) / np.count_nonzero(at_edge)


def _scaled_to_box(shade, line):
    """The part of the shade that contains the line, scaled to a longer side of 20 pixels."""
    top, bottom, left, right = _bounds(line)
    scale = _BOX_PIXELS / max(bottom - top, right - left)
    size = [max(round(length * scale), 1) for length in (right - left, bottom - top)]
    box = Image.fromarray(shade).resize(
        size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)
    )
    return np.rint(np.asarray(box) * MNIST.max_pixel).astype(np.uint8)


def _bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _centred(box):
    """An image with the box in it, its centre of mass at the middle pixel if the box fits."""
    field = np.zeros(MNIST.image_shape, np.uint8)
    corner = []
    middles = ndimage.center_of_mass(box)
    for side, length, middle in zip(field.shape, box.shape, middles, strict=True):
        start = round(side / 2 - middle)
        corner.append(min(max(start, 0), side - length))
    field[corner[0] : corner[0] + box.shape[0], corner[1] : corner[1] + box.shape[1]] = box
    return field


def _weighted_median(values, weights):
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return values[order[np.searchsorted(reached, reached[-1] / 2)]]
