"""Where the ink is on a photo of writing, whatever the light: from grey to ink.

A pen's line is thinner than the ground on either side of it, and darker or lighter than both. A
morphological closing with a window wider than the line fills dark lines up with the grey beside
them and leaves alone whatever is wider than the window: the edge of a shadow, of the sheet, of the
table. What it has filled up is the ink. For light lines the opening does the same.

Source of closing, opening and the growth of both with the window: Serra, "Image Analysis and
Mathematical Morphology", 1982; Maragos, "Pattern spectrum and multiscale shape representation",
1989.
"""

import math

import numpy as np
from scipy import ndimage

_COARSE_PIXELS = 512  # of the longer side: enough to tell the line's width, and quick
_GROWTH = 1.4  # from one window to the next wider one
_FULL_GROWTH = 1.35  # of the ink with the next wider window, below which lines are filled up
_CLEAR = 2.0  # of ink to what the same window finds of the other kind, which may be grain
_WINDOW_LINES = 2.5  # the window's width in lines: crossings and blots are wider than one
_LEAST_ENERGY = 1e-7  # no less is told from nothing
_MOST_VOTE = 2.0  # of one window, as the logarithm of light to dark: none decides alone
_FRAME_VOTE = 1.0  # for the photo's frame being ground, which a table around the sheet is not
_DARKEST_GROUND = 0.3  # of the lightest: deeper shadows hold more noise than ink
_BLUR_SIDES = 1 / 2000  # of the longer side: takes the camera's noise, and no line


def find_ink(grey):
    """How much each pixel of a photo differs from the ground around it.

    Dark ink counts as a share of the ground's brightness, so that a shadow changes nothing; light
    ink counts as a share of what is brightest around it, since a dark ground has hardly any
    brightness to compare with.

    Args:
        grey: uint8 (height, width) of a photo, dark ink on light or light ink on dark.

    Returns:
        float32 (height, width) in [0, 1]: 0 is ground, 1 as strong as ink can be.

    >>> grey = np.full((40, 40), 200, np.uint8)
    >>> grey[10:30, 18:22] = 50
    >>> ink = find_ink(grey)
    >>> float(ink[20, 20]), float(ink[5, 5])
    (0.75, 0.0)
    >>> np.array_equal(find_ink(255 - grey) > 0.5, ink > 0.5)
    True
    """
    grey = np.asarray(grey, np.float32) / np.float32(255)
    shrink = -(-max(grey.shape) // _COARSE_PIXELS)
    coarse = _framed(_block_means(grey, shrink))
    is_light = _is_light(_evenly_lit(coarse))
    window = round(_WINDOW_LINES * _line_width(coarse, is_light) * shrink) | 1
    smooth = ndimage.gaussian_filter(grey, max(grey.shape) * _BLUR_SIDES)
    if is_light:
        smooth = _evenly_lit(smooth)
    return _lines(_framed(smooth), window, is_light)[1:-1, 1:-1]


def _framed(grey):
    """The photo in a frame of one pixel of ground, so that ink that reaches its edge ends there."""
    framed = np.pad(grey, 1, mode="edge")
    for edge in (framed[:, 0], framed[:, -1], framed[0], framed[-1]):
        edge[:] = ndimage.median_filter(edge, len(edge) // 2 | 1, mode="nearest")
    return framed


def _lines(grey, window, is_light):
    """What is narrower than the window and lighter, or darker, than what is beside it."""
    size = (window, window)  # Outside all is as it is at the edge.
    if is_light:
        return grey - ndimage.grey_opening(grey, size, mode="nearest")
    ground = ndimage.grey_closing(grey, size, mode="nearest")
    darkest = max(_DARKEST_GROUND * float(np.percentile(ground, 95)), 1 / 255)
    return (ground - grey) / np.maximum(ground, np.float32(darkest))


def _is_light(grey):
    """Whether the ink is lighter than its ground.

    Windows go from narrow to wide. Up to the one that spans the lines, the kind of which they find
    more is the ink; beyond it they find little more of that kind. One window is not enough to tell
    that: the gap between two lines is narrow too.
    """
    prior = _FRAME_VOTE * _darkness_of_frame(grey)
    lead, before, was_full = 0.0, (0.0, 0.0), False
    for window in _windows(grey):
        found = _energies(grey, window)
        dark, light = (energy + _LEAST_ENERGY for energy in found)
        vote = max(-_MOST_VOTE, min(math.log(light / dark), _MOST_VOTE))
        lead += (vote + prior) * math.sqrt(max(found))
        is_full = 0 < found[lead > 0] < _FULL_GROWTH * before[lead > 0]
        if is_full and was_full:
            break
        before, was_full = found, is_full
    return lead > 0


def _line_width(grey, is_light):
    """The width in pixels of the window after which a wider one finds little more ink."""
    energy, noise, width = 0.0, 0.0, 0
    for window in _windows(grey):
        found = [float(np.mean(np.square(_lines(grey, window, kind)))) for kind in (False, True)]
        if found[is_light] < _FULL_GROWTH * energy and energy > _CLEAR * noise:
            break
        energy, noise, width = found[is_light], found[not is_light], window
    return width


def _energies(grey, window):
    size = (window, window)
    return [
        float(np.mean(np.square(grey - filled)))
        for filled in (
            ndimage.grey_closing(grey, size, mode="nearest"),
            ndimage.grey_opening(grey, size, mode="nearest"),
        )
    ]


def _evenly_lit(grey):
    widest = max(min(grey.shape) // 4, 3)
    brightest = ndimage.maximum_filter(grey, widest, mode="nearest")
    light = ndimage.uniform_filter(brightest, widest, mode="nearest")
    return grey / np.maximum(light, max(_DARKEST_GROUND * float(light.max()), 1 / 255))


def _darkness_of_frame(grey):
    """1: the photo's outermost pixels are as dark as its darkest ones, -1: as light as can be."""
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    dark, light = np.percentile(grey, (0.5, 99.5))
    if dark == light:
        return 0.0
    return 1 - 2 * float(np.clip((np.median(frame) - dark) / (light - dark), 0, 1))


def _windows(grey):
    """Odd widths from 3 to a quarter of the shorter side."""
    width = 3
    while width <= max(min(grey.shape) // 4, 3):
        yield width
        width = max(width + 2, round(width * _GROWTH) | 1)


def _block_means(grey, side):
    height, width = (max(length // side, 1) for length in grey.shape)
    grey = grey[: height * side, : width * side]
    return grey.reshape(height, -1, width, grey.shape[1] // width).mean((1, 3))
