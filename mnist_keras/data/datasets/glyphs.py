"""The forms of the ten digits, as points on the path of a pen; needs no font and no file.

A form has a weight, its frequency among the forms of the digit, and curves. A curve is a string of
points ``x y``, x to the right and y down, in hundredths of a glyph. A Catmull-Rom spline passes
through the points; a curve whose last point is its first one closes smoothly. Points with equal
coordinates are the same point in all curves of the form: where one curve ends and another begins,
the line has a corner and stays connected when the form is distorted.

Source of the spline: Catmull and Rom, "A class of local interpolating splines", 1974.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

SAMPLES = 128  # Along a form; less than a pixel apart in a glyph of 20 pixels.

FORMS = {
    0: (
        (3, "50 0, 22 12, 10 50, 22 88, 50 100, 78 88, 90 50, 78 12, 50 0"),
        (2, "50 0, 32 15, 25 50, 32 85, 50 100, 68 85, 75 50, 68 15, 50 0"),
        (2, "60 4, 35 8, 10 45, 22 88, 52 98, 84 75, 88 35, 68 8, 45 2"),
        (1, "70 2, 40 14, 14 52, 14 86, 36 98, 66 82, 88 44, 86 12, 70 2"),
        (1, "38 10, 15 35, 12 70, 40 98, 76 85, 88 50, 75 18, 55 6"),
        (1, "66 18, 48 2, 20 25, 14 70, 42 98, 78 82, 86 40, 68 8, 44 12"),
        (1, "50 14, 14 24, 0 52, 14 80, 50 88, 86 78, 100 48, 84 22, 50 14"),
        (0.7, "64 26, 46 2, 18 28, 14 70, 42 98, 76 82, 86 42, 66 8, 44 12, 30 30"),
        (0.5, "62 14, 40 2, 15 40, 25 88, 55 97, 82 65, 80 25, 58 8, 34 24"),
    ),
    1: (
        (8, "50 0, 50 50, 50 100"),
        (1, "32 20, 52 0", "52 0, 51 50, 50 100"),
        (1, "30 22, 52 0", "52 0, 51 50, 50 100", "22 100, 50 99, 80 98"),
        (0.3, "50 0, 50 50, 50 100", "26 100, 50 100, 76 98"),
    ),
    2: (
        (4, "12 25, 28 5, 52 0, 74 14, 70 42, 48 74, 22 96, 6 90, 12 76, 32 76, 55 90, 92 94"),
        (3, "12 25, 25 6, 50 0, 75 10, 76 32, 52 66, 12 97", "12 97, 45 95, 90 97"),
        (3, "14 22, 34 2, 58 2, 66 22, 54 56, 30 88, 8 92, 4 74, 22 66, 48 78, 70 94, 98 84"),
        (2, "12 28, 30 8, 60 2, 78 18, 72 44, 50 74, 24 96, 6 88, 14 66, 40 58, 62 72, 80 96"),
        (2, "8 30, 30 6, 62 2, 76 22, 64 50, 42 80, 18 96, 4 84, 16 64, 42 60, 66 74, 98 76"),
        (2, "8 24, 40 4, 66 10, 66 34, 44 68, 18 92, 4 82, 18 68, 44 82, 66 96, 96 96"),
        (2, "10 20, 38 0, 66 10, 62 40, 38 72, 14 94, 0 84, 10 68, 34 72, 62 86, 100 84"),
        (2, "24 34, 16 16, 36 0, 64 6, 70 34, 50 66, 26 90, 10 88, 14 72, 36 74, 66 92, 96 90"),
        (2, "10 22, 32 3, 62 4, 74 24, 60 54, 30 84, 8 98", "8 98, 28 88, 60 96, 92 90"),
        (1, "30 14, 50 0, 60 18, 50 56, 34 97", "34 97, 62 96, 94 92"),
        (1, "30 26, 40 4, 62 4, 64 28, 46 66, 28 94, 20 80, 36 76, 56 90, 88 84"),
        (1, "24 36, 14 18, 40 0, 72 8, 74 40, 48 76, 18 92, 10 76, 34 66, 58 80, 84 100"),
        (1, "12 12, 42 2, 78 6", "78 6, 50 48, 12 96", "12 96, 50 96, 90 92"),
        (1, "26 34, 14 22, 32 2, 64 4, 76 28, 56 62, 16 94", "16 94, 50 92, 88 98"),
    ),
    3: (
        (3, "19 14, 43 0, 69 12, 64 36, 38 47", "38 47, 68 56, 75 80, 48 100, 15 88"),
        (2, "19 12, 46 0, 69 16, 59 40, 38 50, 32 45, 45 45, 69 60, 71 84, 46 100, 17 90"),
        (2, "20 5, 45 4, 73 2", "73 2, 57 22, 41 40", "41 40, 68 48, 76 74, 54 100, 17 90"),
        (2, "22 8, 54 1, 69 18, 55 42", "55 42, 73 62, 64 92, 36 100, 15 92"),
        (1, "16 16, 44 0, 70 10, 58 36, 40 48", "40 48, 68 50, 80 68, 58 100"),
        (1, "30 10, 54 0, 70 12, 48 38", "48 38, 78 54, 74 84, 40 100, 8 86"),
        (1, "25 18, 46 0, 64 14, 59 34, 45 46", "45 46, 68 52, 71 78, 45 100, 15 92, 18 80"),
    ),
    4: (
        (3, "22 2, 16 28, 12 54", "12 54, 50 55, 88 52", "68 0, 64 50, 60 100"),
        (3, "18 5, 14 32, 26 50, 50 50, 76 40", "82 0, 76 50, 70 100"),
        (2, "58 0, 34 32, 10 62", "10 62, 50 63, 90 62", "60 4, 58 50, 56 100"),
        (1.5, "30 0, 18 28, 8 55", "8 55, 50 54, 92 52", "62 26, 58 62, 54 100"),
        (1, "68 2, 38 28, 12 56", "12 56, 40 55, 76 50", "68 2, 68 46, 64 100"),
        (1, "20 6, 10 40, 24 58, 60 52, 100 42", "74 0, 66 50, 60 100"),
        (1, "20 0, 14 30, 18 46, 50 44, 78 20", "80 4, 72 50, 66 100"),
    ),
    5: (
        (3, "82 2, 56 4, 30 4", "30 4, 27 24, 24 44", "24 44, 50 36, 78 54, 74 84, 45 100, 12 90"),
        (2, "85 4, 48 3, 26 20, 32 42, 62 52, 78 72, 58 96, 14 96"),
        (2, "30 8, 26 28, 22 46", "22 46, 54 40, 78 64, 60 96, 12 94", "32 6, 60 5, 92 0"),
        (1, "90 4, 64 8, 46 12", "46 12, 34 46", "34 46, 62 40, 74 62, 52 92, 20 98, 8 86"),
        (
            1,
            "84 0, 58 3, 36 6",
            "36 6, 30 26, 24 44",
            "24 44, 52 34, 84 56, 72 90, 38 100, 8 84, 4 66",
        ),
        (1, "90 6, 62 4, 40 8", "40 8, 28 46", "28 46, 56 50, 66 72, 46 96, 8 98"),
        (1, "84 2, 56 4, 32 6", "32 6, 26 44", "26 44, 56 38, 78 62, 64 94, 30 100, 10 82"),
        (1, "100 0, 72 8, 46 10", "46 10, 40 28, 32 44", "32 44, 60 50, 62 76, 40 96, 4 88"),
    ),
    6: (
        (3, "69 2, 39 20, 20 60, 30 94, 57 98, 74 78, 61 58, 37 62, 22 78"),
        (3, "48 0, 28 36, 18 74, 41 100, 69 90, 70 66, 46 56, 20 78"),
        (2, "59 0, 31 34, 22 72, 41 99, 61 88, 57 68, 37 70, 20 86"),
        (1, "76 10, 52 0, 26 22, 17 62, 31 96, 63 98, 80 74, 63 50, 37 54, 18 74"),
        (1, "31 0, 15 40, 20 84, 50 100, 82 82, 78 54, 54 46, 35 66, 37 94"),
        (0.6, "28 16, 4 52, 16 88, 56 96, 94 76, 88 48, 60 42, 46 60, 56 80"),
        (0.6, "36 4, 10 50, 20 90, 58 98, 88 78, 80 54, 54 52, 42 70, 52 90"),
    ),
    7: (
        (4, "12 8, 46 7, 80 4", "80 4, 58 44, 44 100"),
        (2, "12 26, 14 8", "14 8, 46 8, 80 4", "80 4, 58 44, 46 100"),
        (2, "10 18, 26 4, 50 8, 80 4", "80 4, 60 44, 46 100"),
        (2, "12 10, 50 2, 78 8, 74 38, 50 100"),
        (1.5, "12 8, 46 7, 80 4", "80 4, 58 44, 44 100", "34 54, 56 52, 80 48"),
        (1, "10 36, 20 10, 48 6, 80 2", "80 2, 60 44, 44 100"),
        (1, "14 14, 40 6, 78 8", "78 8, 66 40, 40 100", "28 48, 52 52, 86 50"),
        (1, "16 26, 18 8, 48 10, 84 6", "84 6, 60 50, 50 100", "34 52, 78 50"),
        (1, "4 22, 26 8, 60 0, 88 8, 84 42, 62 100"),
        (1, "6 34, 14 10, 46 8, 84 6", "84 6, 74 46, 70 100"),
        (0.5, "8 30, 20 10, 40 14, 66 12, 86 0", "86 0, 62 44, 46 100", "30 58, 56 52, 84 44"),
    ),
    8: (
        (3, "69 14, 50 0, 29 14, 36 36, 61 54, 73 78, 50 100, 27 80, 39 56, 64 36, 69 14"),
        (
            2,
            "50 0, 31 10, 31 36, 50 46, 69 36, 69 10, 50 0",
            "50 46, 25 58, 24 88, 50 100, 76 88, 75 58, 50 46",
        ),
        (2, "78 6, 52 0, 25 16, 39 42, 64 62, 68 88, 46 100, 29 86, 39 60, 62 38, 80 14"),
        (1, "84 4, 60 34, 36 58, 26 84, 46 100, 62 86, 54 60, 30 40, 24 16, 46 2, 66 14"),
        (1, "66 14, 50 0, 36 12, 42 30, 66 58, 74 82, 48 100, 22 82, 36 56, 58 30, 66 14"),
        (1, "78 16, 52 0, 22 18, 36 42, 56 62, 60 86, 46 100, 34 86, 44 60, 74 36, 78 16"),
        (1, "86 8, 54 0, 26 14, 30 36, 52 52, 64 76, 50 98, 32 86, 42 60, 66 38, 92 18"),
        (1, "61 10, 45 0, 29 16, 38 38, 55 56, 57 86, 41 100, 31 84, 39 58, 59 40, 68 18"),
        (1, "68 22, 59 4, 36 0, 22 18, 36 40, 52 60, 54 86, 41 100, 32 86, 43 60, 71 34, 76 10"),
        (1, "71 12, 54 0, 36 10, 39 28, 62 50, 78 76, 55 100, 22 86, 29 60, 61 34, 71 12"),
    ),
    9: (
        (3, "69 14, 50 2, 28 16, 24 42, 45 52, 65 36, 69 14", "69 14, 67 56, 62 100"),
        (2, "70 18, 50 0, 26 18, 26 44, 48 50, 67 30, 70 18", "70 18, 72 58, 58 92, 28 94"),
        (2, "67 8, 42 4, 21 28, 31 50, 55 44, 72 14", "72 14, 64 56, 53 100"),
        (2, "77 10, 50 2, 21 20, 11 42, 28 54, 57 40, 77 10", "77 10, 70 54, 62 100"),
        (2, "72 24, 64 6, 45 2, 26 22, 28 44, 50 44, 72 24", "72 24, 58 62, 42 100"),
        (1.5, "84 6, 60 0, 30 16, 22 36, 42 46, 70 26", "70 26, 66 62, 52 100"),
        (1.5, "88 2, 54 6, 24 24, 24 44, 52 44, 78 22", "78 22, 70 60, 58 100"),
        (1, "66 4, 36 8, 18 28, 30 46, 58 36, 80 14", "80 14, 68 56, 60 100"),
        (1, "70 0, 42 8, 24 26, 34 44, 60 36, 74 18, 74 44, 64 74, 54 100"),
        (1, "69 22, 52 2, 31 10, 26 38, 45 50, 67 26, 74 4", "74 4, 69 50, 64 100"),
        (1, "70 6, 50 0, 33 14, 33 34, 53 38, 70 6", "70 6, 65 52, 58 100"),
        (0.7, "30 10, 20 32, 40 46, 66 30, 72 8, 50 2, 30 10", "72 8, 66 56, 54 100"),
    ),
}


class Splines(NamedTuple):
    """The splines of all forms, as arrays, so that many digits are drawn at once.

    Sample s of form f is at the sum of ``blends[k, f, s] * controls[f, neighbours[k, f, s]]`` over
    the four k; the controls may be moved first.

    Attributes:
        first: int (10,), each digit's first form.
        shares: float64 (10, most forms of a digit - 1), the cumulative share of a digit's forms,
            in [0, 1]; 1 where a digit has fewer forms.
        controls: float32 (forms, most points of a form, 2), x and y in glyphs; unused rows are 0.
        neighbours: int (4, forms, SAMPLES), the points that determine a sample.
        blends: float32 (4, forms, SAMPLES), their weights.
    """

    first: np.ndarray
    shares: np.ndarray
    controls: np.ndarray
    neighbours: np.ndarray
    blends: np.ndarray

    def choose(self, digits, chance):
        """The form of each digit, int (n,), chosen by weight with ``chance``, (n,) in [0, 1)."""
        return self.first[digits] + (chance[:, None] >= self.shares[digits]).sum(1)


@functools.cache
def splines():
    """The `Splines` of FORMS.

    >>> splines().blends.shape == (4, sum(map(len, FORMS.values())), SAMPLES)
    True
    """
    compiled = [_spline(curves) for forms in FORMS.values() for _, *curves in forms]
    controls = np.zeros((len(compiled), max(len(c) for c, _, _ in compiled), 2), np.float32)
    for row, (points, _, _) in zip(controls, compiled, strict=True):
        row[: len(points)] = points
    counts = [len(forms) for forms in FORMS.values()]
    shares = np.ones((len(FORMS), max(counts) - 1))
    for share, forms in zip(shares, FORMS.values(), strict=True):
        upto = np.add.accumulate([weight for weight, *_ in forms])
        share[: len(forms) - 1] = upto[:-1] / upto[-1]
    return Splines(
        first=np.add.accumulate([0, *counts[:-1]]),
        shares=shares,
        controls=controls,
        neighbours=np.stack([neighbours for _, neighbours, _ in compiled], 1),
        blends=np.stack([blends for _, _, blends in compiled], 1),
    )


def _spline(curves):
    """One form's points (p, 2) in glyphs, and its neighbours and blends, (4, SAMPLES) each."""
    points, spans = _spans(curves)
    controls = np.array(points) / 100
    x, y = (controls[[span[2] for span in spans]] - controls[[span[1] for span in spans]]).T
    drawn = np.add.accumulate(np.sqrt(x * x + y * y))
    stops = np.round(drawn / drawn[-1] * SAMPLES).astype(int)
    neighbours, blends = np.zeros((4, SAMPLES), int), np.zeros((4, SAMPLES), np.float32)
    start = 0
    for span, stop in zip(spans, stops, strict=True):
        samples = slice(start, stop)
        t = np.arange(stop - start) / max(stop - start - 1, 1)
        neighbours[:, samples] = [[n] for n in _present(span)]
        blends[:, samples] = _blends(t, begins=span[0] is None, ends=span[3] is None)
        start = stop
    return controls, neighbours, blends


def _spans(curves):
    """The distinct points, and for each span between two points the four points that shape it.

    The span connects the second and the third; the first and the last are None at an open end.
    """
    points: dict[Any, Any] = {}
    spans = []
    for curve in curves:
        coordinates = [tuple(map(int, point.split())) for point in curve.split(",")]
        path = [points.setdefault(xy, len(points)) for xy in coordinates]
        closed = path[0] == path[-1]
        path = [path[-2] if closed else None, *path, path[1] if closed else None]
        spans += [path[k : k + 4] for k in range(len(path) - 3)]
    return list(points), spans


def _present(span):
    before, start, stop, after = span
    return (start if before is None else before), start, stop, (stop if after is None else after)


def _blends(t, *, begins, ends):
    """The weights of a span's four points at t in [0, 1] along it."""
    t2, t3 = t * t, t * t * t  # t**3 would be pow, whose last bit differs between C libraries.
    before = (2 * t2 - t3 - t) / 2
    start = (3 * t3 - 5 * t2 + 2) / 2
    stop = (4 * t2 - 3 * t3 + t) / 2
    after = (t3 - t2) / 2
    # An open end continues straight: the missing point mirrors the opposite one.
    if begins:
        before, start, stop = 0 * t, start + 2 * before, stop - before
    if ends:
        after, stop, start = 0 * t, stop + 2 * after, start - after
    return before, start, stop, after
