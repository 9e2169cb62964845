import doctest

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.checkpoint import worker_places
from mnist_keras.distributed.workers import Workers


class Two(Workers):
    """The second of two workers; the first one gathers ``other``."""

    def __init__(self, other):
        super().__init__(tf.distribute.get_strategy())
        self.count, self.index, self._other = 2, 1, other

    def all_gather(self, data):
        if self._other is None:
            self._other = data
        return [self._other, data]


PLACE = {"draws": 3, "now": {"python": np.arange(4), "cached": None}, "prints": [[1, 0, 77]]}


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(worker_places).failed == 0


def test_each_worker_finds_its_own_place():
    chiefs = {**PLACE, "draws": 5}
    chief = Two(None)
    worker_places.gather(chiefs, chief)
    gathered = worker_places.gather(PLACE, Two(chief._other))
    found, count = worker_places.own(gathered, Two(None))
    assert count == 2
    assert found.pop("now")["python"].tolist() == [0, 1, 2, 3]
    assert found == {"draws": 3, "prints": [[1, 0, 77]]}
    assert gathered["workers"][0]["draws"] == 5


@pytest.mark.parametrize("place", [None, PLACE])
def test_one_worker_has_its_place_alone(place):
    assert worker_places.gather(place, Workers(tf.distribute.get_strategy())) is place
