"""Finds the ink on a photo of handwriting, under any light.

A pen's line is narrower than the background on both sides, and darker or lighter than it. A
morphological closing with a window wider than the line fills dark lines with the grey beside them.
It does not change anything wider than the window: the edge of a shadow, of the sheet, of the table.
The difference that it makes is the ink. For light lines an opening does the same.

Source of closing, opening and their growth with the window: Serra, "Image Analysis and Mathematical
Morphology", 1982; Maragos, "Pattern spectrum and multiscale shape representation", 1989.
"""

import math

import numpy as np
from scipy import ndimage

_COARSE_PIXELS = 512  # Longer side of the coarse photo: shows the line's width, and is fast.
_LONGEST = 4  # Times the shorter side; a longer photo, as of one line of digits, counts as this.
_MOST_IN_FRAME = 4096  # Pixels of an edge whose median is taken: its time grows with the square.
_GROWTH = 1.4  # From one window to the next wider one.
_FULL_GROWTH = 1.35  # Of the ink with the next wider window; below it the lines are filled.
_CLEAR = 2.0  # Ratio of the ink to what the same window finds of the other kind, maybe grain.
_WINDOW_LINES = 2.5  # The window's width in line widths: crossings and blots are wider than a line.
_LEAST_ENERGY = 1e-7  # Less counts as zero.
_MOST_VOTE = 2.0  # Of one window, as log(light / dark): no window decides alone.
_FRAME_VOTE = 1.0  # For the photo's frame being background; a table around the sheet is not.
_DARKEST_GROUND = 0.3  # Relative to the lightest: darker shadows have more noise than ink.
_BLUR_SIDES = 1 / 2000  # Relative to the longer side: removes the camera's noise, but no line.


def find_ink(grey, *, check=lambda: None):
    """The difference of each pixel of a photo from the background around it.

    Dark ink is measured relative to the brightness of the background, so a shadow changes nothing.
    Light ink is measured relative to the brightest pixels around it, because a dark background has
    almost no brightness.

    Args:
        grey: uint8 (height, width) of a photo, dark ink on light or light ink on dark.
        check: called between the steps; it may raise an exception to end the search.

    Returns:
        float32 (height, width) in [0, 1]: 0 is background, 1 the strongest possible ink.

    >>> grey = np.full((40, 40), 200, np.uint8)
    >>> grey[10:30, 18:22] = 50
    >>> ink = find_ink(grey)
    >>> float(ink[20, 20]), float(ink[5, 5])
    (0.75, 0.0)
    >>> np.array_equal(find_ink(255 - grey) > 0.5, ink > 0.5)
    True
    """
    grey = np.asarray(grey, np.float32) / np.float32(255)
    longer = min(max(grey.shape), _LONGEST * min(grey.shape))
    shrink = math.ceil(max(longer, math.sqrt(grey.size)) / _COARSE_PIXELS)
    coarse = _framed(_block_means(grey, shrink))
    check()
    is_light = _is_light(_evenly_lit(coarse), check)
    window = round(_WINDOW_LINES * _line_width(coarse, is_light, check) * shrink) | 1
    smooth = ndimage.gaussian_filter(grey, longer * _BLUR_SIDES)
    check()
    if is_light:
        smooth = _evenly_lit(smooth)
    ink = _lines(_framed(smooth), window, is_light)[1:-1, 1:-1]
    check()
    return ink


def _framed(grey):
    """The photo in a frame of one pixel of background, where ink that reaches the edge ends."""
    framed = np.pad(grey, 1, mode="edge")
    for edge in (framed[:, 0], framed[:, -1], framed[0], framed[-1]):
        every = -(-len(edge) // _MOST_IN_FRAME)
        some = edge[::every]
        medians = ndimage.median_filter(some, len(some) // 2 | 1, mode="nearest")
        edge[:] = np.repeat(medians, every)[: len(edge)]
    return framed


def _lines(grey, window, is_light):
    """The difference of structures narrower than the window from the pixels beside them."""
    size = _window(grey, window)
    if is_light:
        return grey - ndimage.grey_opening(grey, size, mode="nearest")
    ground = ndimage.grey_closing(grey, size, mode="nearest")
    darkest = max(_DARKEST_GROUND * float(np.percentile(ground, 95)), 1 / 255)
    return (ground - grey) / np.maximum(ground, np.float32(darkest))


def _is_light(grey, check):
    """Whether the ink is lighter than its background.

    The windows go from narrow to wide. Up to the window that spans the lines, they find more of the
    ink than of the other kind; wider windows find little more ink. One window is not enough to
    decide, because the gap between two lines is narrow too.
    """
    prior = _FRAME_VOTE * _darkness_of_frame(grey)
    lead, before, was_full = 0.0, (0.0, 0.0), False
    for window in _windows(grey):
        check()
        found = _energies(grey, window)
        dark, light = (energy + _LEAST_ENERGY for energy in found)
        vote = max(-_MOST_VOTE, min(math.log(light / dark), _MOST_VOTE))
        lead += (vote + prior) * math.sqrt(max(found))
        is_full = 0 < found[lead > 0] < _FULL_GROWTH * before[lead > 0]
        if is_full and was_full:
            break
        before, was_full = found, is_full
    return lead > 0


def _line_width(grey, is_light, check):
    """The width in pixels of the narrowest window from which on wider ones find little more ink."""
    energy, noise, width = 0.0, 0.0, 0
    for window in _windows(grey):
        check()
        found = [float(np.mean(np.square(_lines(grey, window, kind)))) for kind in (False, True)]
        if found[is_light] < _FULL_GROWTH * energy and energy > _CLEAR * noise:
            break
        energy, noise, width = found[is_light], found[not is_light], window
    return width


def _energies(grey, window):
    size = _window(grey, window)
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
    """1: the photo's outermost pixels are as dark as its darkest pixels; -1: as its lightest."""
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    dark, light = np.percentile(grey, (0.5, 99.5))
    if dark == light:
        return 0.0
    return 1 - 2 * float(np.clip((np.median(frame) - dark) / (light - dark), 0, 1))


def _window(grey, side):
    """The size of a square window, cut off where it already spans the photo from any pixel.

    The result is the same, and the time grows with the window even there.
    """
    return tuple(min(side, 2 * length - 1) for length in grey.shape)


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
