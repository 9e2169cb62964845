import doctest
import threading

import pytest

from mnist_keras.checkpoint import background_writer
from mnist_keras.checkpoint.background_writer import BackgroundWriter


@pytest.fixture
def writer():
    writer = BackgroundWriter()
    yield writer
    writer.close()


def test_a_write_runs_in_the_background_until_waited_for(writer):
    go, done = threading.Event(), []
    writer.start(lambda: go.wait(60) and done.append("written"))
    assert (writer.is_busy, done) == (True, [])
    go.set()
    assert writer.wait() is None
    assert (writer.is_busy, done) == (False, ["written"])


def test_disk_errors_are_returned_and_other_errors_raised(writer):
    full = OSError("full")

    def fail(error):
        raise error

    writer.start(lambda: fail(full))
    assert writer.wait() is full
    writer.start(lambda: fail(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    assert writer.wait() is None


def test_closing_waits_for_the_write_and_keeps_its_result(writer):
    go, full = threading.Event(), OSError("full")

    def write():
        go.wait(60)
        raise full

    writer.start(write)
    threading.Timer(0.01, go.set).start()
    writer.close()
    assert writer.wait() is full


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(background_writer).failed == 0
