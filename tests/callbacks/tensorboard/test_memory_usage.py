import doctest
import pathlib
import re

import numpy as np
import pytest

from mnist_keras.callbacks.tensorboard import memory_usage
from mnist_keras.callbacks.tensorboard.memory_usage import MemoryUsage, peak_mib

STATUS = pathlib.Path("/proc/self/status")


def test_each_epoch_has_current_and_peak_memory(make_model, stream, tmp_path, points_of):
    make_model().fit(stream, epochs=2, verbose=0, callbacks=[MemoryUsage(tmp_path)])
    points = points_of(tmp_path)
    assert {tag: list(values) for tag, values in points.items()} == {
        "memory/present_mib": [7, 14],
        "memory/peak_mib": [7, 14],
    }
    for step in (7, 14):
        present, peak = (points[f"memory/{kind}_mib"][step] for kind in ("present", "peak"))
        assert 50 < present <= peak < 50_000
    assert points["memory/peak_mib"][7] <= points["memory/peak_mib"][14]


@pytest.mark.skipif(not STATUS.exists(), reason="this system has no /proc")
def test_the_peak_is_the_systems_value_in_mib():
    ballast = np.ones(2**24)
    kib = int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1])
    assert peak_mib() == pytest.approx(kib / 1024, rel=0.05)
    assert ballast.nbytes / 2**20 < peak_mib()


def test_the_example_is_true():
    assert doctest.testmod(memory_usage).failed == 0
