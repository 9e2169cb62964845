"""What ends one of several workers, and what is reported to the others."""

import pytest
import tensorflow as tf

from mnist_keras.distributed import strategy as strategies
from mnist_keras.distributed.cluster import Cluster
from mnist_keras.distributed.workers import Workers
from mnist_keras.errors import DataError, MnistKerasError, UsageError


@pytest.fixture
def reported(monkeypatch):
    """The messages to the other workers."""
    messages = []
    monkeypatch.setattr(strategies, "_report_to_others", messages.append)
    return messages


def end_by(raise_error, reported):
    """End one of two workers by an exception; (exception, reported messages)."""
    cluster = Cluster(("a:1", "b:2"), 0, "")
    with pytest.raises(MnistKerasError) as caught, strategies.fail_together(cluster):
        raise_error()
    return caught.value, reported


def test_an_error_of_one_worker_is_reported_to_the_others(reported):
    def fail():
        raise DataError("the disk is gone.")

    assert end_by(fail, reported)[1] == ["the disk is gone."]


def test_an_error_that_each_worker_raises_is_not_reported(reported):
    def fail():
        raise UsageError("no such run.")

    workers = Workers(tf.distribute.get_strategy())
    error, messages = end_by(lambda: workers.on_chief(fail), reported)
    assert (type(error), str(error), error.exit_status) == (UsageError, "no such run.", 2)
    assert messages == []
