"""What ends one of several workers, and who is told."""

import pytest
import tensorflow as tf

from mnist_keras.distributed import strategy as strategies
from mnist_keras.distributed.cluster import Cluster
from mnist_keras.distributed.workers import Workers
from mnist_keras.errors import DataError, MnistKerasError, UsageError


@pytest.fixture
def told(monkeypatch):
    """What the other workers are told."""
    messages = []
    monkeypatch.setattr(strategies, "_tell_the_others", messages.append)
    return messages


def end_by(error_of, told):
    """Let one of two workers end by what a function raises; what it is and what is told."""
    cluster = Cluster(("a:1", "b:2"), 0, "")
    with pytest.raises(MnistKerasError) as caught, strategies.one_for_all(cluster):
        error_of()
    return caught.value, told


def test_an_error_of_one_worker_is_told_to_the_others(told):
    def fail():
        raise DataError("the disk is gone.")

    assert end_by(fail, told)[1] == ["the disk is gone."]


def test_an_error_that_each_worker_raises_by_itself_is_not_told_over_it(told):
    def fail():
        raise UsageError("no such run.")

    workers = Workers(tf.distribute.get_strategy())
    error, messages = end_by(lambda: workers.on_chief(fail), told)
    assert (type(error), str(error), error.exit_status) == (UsageError, "no such run.", 2)
    assert messages == []
