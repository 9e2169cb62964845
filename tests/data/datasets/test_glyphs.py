"""Each form of a digit is a clean pen path, also after its points are moved."""

import doctest
import itertools

import numpy as np
import pytest

from mnist_keras.data.datasets import glyphs
from mnist_keras.data.datasets.glyphs import FORMS, SAMPLES, splines

ALL_FORMS = [(digit, form) for digit, forms in FORMS.items() for form in forms]
LONGEST_STEP = 1 / 20  # of a glyph, one pixel: between two samples while the pen is down


def points_of(curve):
    return [tuple(map(int, point.split())) for point in curve.split(",")]


def paths(moved=0):
    """(forms, SAMPLES, 2): the path of each form after moving its points."""
    forms = splines()
    controls = forms.controls + moved
    row = np.arange(len(controls))[:, None]
    return sum(forms.blends[k][:, :, None] * controls[row, forms.neighbours[k]] for k in range(4))


@pytest.fixture
def moved():
    """A random shift of some tenths of a glyph for each point of each form."""
    return np.random.default_rng(0).normal(0, 0.1, splines().controls.shape)


def test_each_digit_has_several_weighted_forms():
    assert list(FORMS) == list(range(10))
    assert min(map(len, FORMS.values())) >= 3
    assert all(weight > 0 and curves for _, (weight, *curves) in ALL_FORMS)


def test_points_are_within_the_field_and_consecutive_points_differ():
    for curve in (curve for _, (_, *curves) in ALL_FORMS for curve in curves):
        points = points_of(curve)
        assert len(points) >= 2, curve
        assert all(0 <= coordinate <= 100 for point in points for coordinate in point), curve
        assert all(a != b for a, b in itertools.pairwise(points)), curve


def test_all_forms_are_distinct():
    assert len({form[1:] for _, form in ALL_FORMS}) == len(ALL_FORMS)


def test_the_path_runs_through_all_points_of_its_form():
    for (_, (_, *curves)), path in zip(ALL_FORMS, paths(), strict=True):
        for point in {point for curve in curves for point in points_of(curve)}:
            distance = np.abs(path - np.array(point) / 100).max(1).min()
            assert distance < 1e-6, (curves, point)


def test_the_pen_is_lifted_only_between_curves():
    for (_, (_, *curves)), path in zip(ALL_FORMS, paths(), strict=True):
        ends = [points_of(curve) for curve in curves]
        apart = sum(a[-1] != b[0] for a, b in itertools.pairwise(ends))
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        assert np.sum(steps > LONGEST_STEP) == apart, curves


def test_joined_curves_stay_joined_when_points_move(moved):
    before, after = (np.diff(path, axis=1) for path in (paths(), paths(moved)))
    joined = np.abs(before).max(2) < 1e-6
    assert joined.any(1).all()
    assert np.abs(after[joined]).max() < 1e-6


def test_a_closed_curve_closes_smoothly(moved):
    closed = [
        index
        for index, (_, (_, *curves)) in enumerate(ALL_FORMS)
        if len(curves) == 1 and points_of(curves[0])[0] == points_of(curves[0])[-1]
    ]
    assert {ALL_FORMS[index][0] for index in closed} == {0, 8}
    for path in [paths(where)[index] for where in (0, moved) for index in closed]:
        assert path[0] == pytest.approx(path[-1], abs=1e-6)
        first, last = path[1] - path[0], path[-1] - path[-2]
        cosine = first @ last / np.linalg.norm(first) / np.linalg.norm(last)
        assert cosine > 0.9


def test_the_path_moves_with_its_points():
    """The blending weights add up to 1, so shifting all points only shifts the path."""
    assert splines().blends.sum(0) == pytest.approx(1, abs=1e-6)
    assert paths(moved=3) == pytest.approx(paths() + 3, abs=1e-5)


def test_samples_are_evenly_spaced_along_the_path():
    for (_, (_, *curves)), path in zip(ALL_FORMS, paths(), strict=True):
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        drawn = steps[(steps > 1e-6) & (steps <= LONGEST_STEP)]
        assert drawn.max() < 2 * np.median(drawn), curves
        assert len(drawn) > SAMPLES - 20


@pytest.mark.parametrize("digit", range(10))
def test_forms_are_chosen_in_proportion_to_their_weights(digit):
    chance = np.arange(10000) / 10000
    chosen = splines().choose(np.full(10000, digit), chance)
    own = [index for index, (of, _) in enumerate(ALL_FORMS) if of == digit]
    weights = np.array([weight for weight, *_ in FORMS[digit]])
    counts = np.bincount(chosen, minlength=len(ALL_FORMS))
    assert counts.sum() == counts[own].sum()
    assert counts[own] == pytest.approx(10000 * weights / weights.sum(), abs=1.01)


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(glyphs) == (0, 1)
