import doctest
import json

import numpy as np
import pytest

from mnist_keras.checkpoint import foreign_state
from mnist_keras.checkpoint.nested import put_arrays, take_arrays


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(foreign_state).failed == 0


def test_a_loaders_state_is_read_back_unchanged():
    state = {"position": 3, 7: (b"\x00\xff", None), "nested": [{"order": np.arange(3)}, 0.5, "a"]}
    arrays = {}
    saved = json.dumps(take_arrays(foreign_state.encode(state), "source", arrays))
    found = foreign_state.decode(put_arrays(json.loads(saved), arrays))
    assert found["nested"][0].pop("order").tolist() == [0, 1, 2]
    state["nested"][0].pop("order")
    assert found == state


def test_state_that_could_run_code_is_refused():
    with pytest.raises(TypeError, match="a state cannot hold a object"):
        foreign_state.encode({"state": object()})
