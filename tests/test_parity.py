"""TapeModel gives the same numbers as keras.Model; the rows are in tests/parity."""

import functools

import keras
import numpy as np
import pytest

from docs.make_parity_page import PAGE, page
from mnist_keras import TapeModel
from tests.parity.rows import Maker
from tests.parity.table import ROWS


def result_of_keras(name):
    return _result_of_keras(ROWS[name].same_for_keras or name)


@functools.cache  # Some rows are also what Keras gives, or should give, in another one.
def _result_of_keras(name):
    return result(name, keras.Model)


def result(name, base):
    keras.utils.clear_session(free_memory=False)  # Layers and metrics are numbered from 1 again.
    keras.utils.set_random_seed(1)
    return ROWS[name].run(Maker(base))


def require_equal(found, expected, where="result"):
    """Compare two nested results: names and lengths exactly, numbers to 1e-6 of the largest."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            require_equal(found[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            require_equal(found[index], value, f"{where}[{index}]")
    elif isinstance(expected, str | None):
        assert found == expected, where
    else:
        expected = np.asarray(expected)
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * largest, err_msg=where)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ROWS)
def test_it_trains_like_keras_model(name):
    ours, kerass = result(name, TapeModel), result_of_keras(name)
    if ROWS[name].keras_is_wrong is None:
        require_equal(ours, kerass)
    else:
        if ROWS[name].right is not None:
            require_equal(ours, result_of_keras(ROWS[name].right))
        with pytest.raises(AssertionError):
            require_equal(ours, kerass)


def test_the_page_lists_the_rows():
    assert PAGE.read_text(encoding="utf-8") == page()


def test_a_difference_anywhere_is_detected():
    nested = {"a": [np.zeros(2), 1.0, "text"], "b": None}
    require_equal(nested, {"a": [np.zeros(2), 1.0, "text"], "b": None})
    for other in (
        {"b": None, "a": nested["a"]},
        {"a": nested["a"]},
        {**nested, "a": [np.zeros(2), 1.0]},
        {**nested, "a": [np.zeros(2), 1.0 + 3e-6, "text"]},
        {**nested, "a": [np.zeros(2), 1.0, "another"]},
        {**nested, "a": [np.array([0, 1e-9]), 1.0, "text"]},
        {**nested, "b": 0.0},
    ):
        with pytest.raises(AssertionError):
            require_equal(other, nested)
