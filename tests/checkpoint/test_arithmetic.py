import doctest
import os
import subprocess
import sys

import pytest

from mnist_keras.checkpoint import arithmetic


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(arithmetic).failed == 0


@pytest.mark.slow
def test_other_kernels_give_other_results():
    command = "from mnist_keras.checkpoint import arithmetic; print(arithmetic.arithmetic())"
    results = [
        subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": value, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for value in ("0", "1")
    ]
    assert results[0] != results[1]
    assert str(arithmetic.arithmetic()) + "\n" in results


def test_each_change_says_what_to_do():
    now = arithmetic.arithmetic()
    (line,) = arithmetic.changes({**now, "tensorflow": "2.18.0"})
    assert line == (
        f"tensorflow was 2.18.0 when the checkpoint was written, and is {now['tensorflow']} now; "
        "pip install tensorflow==2.18.0"
    )
    (line,) = arithmetic.changes({**now, "device": "GPU"})
    assert line.endswith("and is on a CPU now; resume on a GPU")
    (line,) = arithmetic.changes({**now, "results": "other"})
    assert "TF_ENABLE_ONEDNN_OPTS" in line


def test_a_checkpoint_of_an_earlier_version_is_not_compared():
    assert arithmetic.changes(None) == []
