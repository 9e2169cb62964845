import doctest

import keras
import numpy as np
import pytest

from mnist_keras.callbacks.tensorboard import epoch_curves as module
from mnist_keras.callbacks.tensorboard.epoch_curves import epoch_curves


@pytest.mark.parametrize(
    ("value", "curves"),
    [
        (0.5, {"m": 0.5}),
        (np.float32([[0.5]]), {"m": 0.5}),
        (keras.ops.convert_to_tensor([0.0, 1.0]), {"m/0": 0.0, "m/1": 1.0}),
        (np.array([[0.0], [1.0]]), {"m/0/0": 0.0, "m/1/0": 1.0}),
        (np.arange(32), {f"m/{i}": i for i in range(32)}),
        (np.arange(33), {"m/mean": 16.0}),
        (np.zeros(0), {}),
    ],
)
def test_each_entry_of_a_short_array_is_a_curve(value, curves):
    assert epoch_curves({"m": value}) == curves


def test_the_example_is_true():
    assert epoch_curves(None) == {}
    assert doctest.testmod(module).failed == 0
