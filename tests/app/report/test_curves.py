import doctest

import pytest

from mnist_keras.app.report import curves
from mnist_keras.app.report.curves import HEIGHT, WIDTH, chart, ticks


def points_of(line):
    return [tuple(map(float, point.split(","))) for point in line.split()]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(curves).failed == 0


def test_all_curves_of_a_chart_share_one_scale():
    drawn = chart("loss", {"train": [(0, 1.0), (10, 0.0)], "held out": [(5, 0.5)]})
    lines = {name: points_of(line) for name, line in drawn.lines}
    (left, top), (right, bottom) = lines["train"]
    assert lines["held out"] == [((left + right) / 2, (top + bottom) / 2)]


def test_marks_lie_at_their_values():
    drawn = chart("loss", {"train": [(0, 0.0), (100, 2.0)]})
    (left, bottom), (right, top) = points_of(drawn.lines[0][1])
    assert drawn.x_ticks[0] == (left, "0")
    assert drawn.x_ticks[-1] == (right, "100")
    assert (drawn.y_ticks[0], drawn.y_ticks[-1]) == ((bottom, "0"), (top, "2"))


@pytest.mark.parametrize("points", [[(3, 7.0)], [(0, 7.0), (9, 7.0)], [(0, -1e-30), (1, 1e30)]])
def test_all_points_are_drawn_inside_the_chart(points):
    for x, y in points_of(chart("loss", {"train": points}).lines[0][1]):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_non_finite_values_are_omitted_and_empty_charts_too():
    nan, inf = float("nan"), float("inf")
    drawn = chart("loss", {"train": [(0, 1.0), (1, nan), (2, inf), (3, 2.0)], "none": [(0, nan)]})
    assert [(name, len(points_of(line))) for name, line in drawn.lines] == [("train", 2)]
    assert chart("loss", {"train": [(0, nan)]}) is None


def test_many_points_are_thinned_but_first_and_last_are_kept():
    points = [(step, float(step)) for step in range(100_001)]
    drawn = points_of(chart("loss", {"train": points}).lines[0][1])
    few = points_of(chart("loss", {"train": points[:: len(points) - 1]}).lines[0][1])
    assert len(drawn) <= 601
    assert (drawn[0], drawn[-1]) == (few[0], few[-1])


@pytest.mark.parametrize(
    ("least", "greatest", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.31, 0.39, [0.32, 0.34, 0.36, 0.38]),
        (5, 5, [5]),
        (-3, 3, [-3, -2, -1, 0, 1, 2, 3]),
    ],
)
def test_marks_are_at_round_numbers(least, greatest, expected):
    assert ticks(least, greatest) == pytest.approx(expected)
