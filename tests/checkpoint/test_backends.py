import doctest

import keras
import pytest

from mnist_keras.checkpoint import backends
from mnist_keras.errors import UsageError


def test_another_backend_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError) as caught:
        backends.require_tensorflow("TapeModel")
    assert str(caught.value) == (
        "TapeModel needs the TensorFlow backend. Received: jax. Expected: KERAS_BACKEND=tensorflow."
    )


@pytest.mark.parametrize(
    ("name", "resumable"),
    [("tensorflow", "a TapeModel with a Checkpoint"), ("jax", "a Checkpoint")],
)
def test_the_advice_to_resume_fits_the_backend(name, resumable, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: name)
    assert backends.resumable() == resumable


def test_a_host_array_keeps_its_numbers_when_the_variable_changes():
    variable = keras.Variable([1.0, 2.0])
    kept = backends.host_array(variable)
    variable.assign([3.0, 4.0])
    assert kept.tolist() == [1.0, 2.0]


def test_the_examples_are_true():
    assert doctest.testmod(backends).failed == 0
