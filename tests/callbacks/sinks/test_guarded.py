import pytest

from mnist_keras.callbacks.sinks import Sink
from mnist_keras.callbacks.sinks.guarded import GuardedSinks
from mnist_keras.errors import UsageError


class Own(Sink):
    def __init__(self):
        self.calls = []
        self.error = None

    def _note(self, *call):
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def begin(self, step):
        self._note("begin", step)

    def write(self, step, values):
        self._note("write", step, values)

    def flush(self):
        self._note("flush")

    def close(self):
        self._note("close")


def test_every_sink_gets_every_call_once():
    guarded = GuardedSinks([first := Own(), second := Own()])
    guarded.flush()
    guarded.close()
    for step in (0, 1):
        guarded.begin(step)
        guarded.write(step, {"loss": 1.0})
    guarded.write(2, {})
    guarded.flush()
    for _ in range(2):
        guarded.close()
    writes = [("write", step, {"loss": 1.0}) for step in (0, 1)]
    assert first.calls == second.calls == [("begin", 0), *writes, ("flush",), ("close",)]


def test_a_sink_that_cannot_keep_earlier_values_stays_closed(capsys):
    class Full(Own):
        def keep_earlier(self):
            raise OSError("the disk is full")

    guarded = GuardedSinks([full := Full(), working := Own()])
    guarded.begin(0, resumes=False)
    assert full.calls == []
    assert working.calls == [("begin", 0)]
    assert "the disk is full" in capsys.readouterr().err


def test_a_failing_sink_is_told_once_until_it_works(capsys):
    guarded = GuardedSinks([failing := Own(), working := Own()])
    failing.error = OSError("the disk\nis full")
    guarded.begin(0)
    for step in range(3):
        guarded.write(step, {"loss": 1.0})
    line = (
        "Own does not work, and the training continues without it. "
        "Received: the disk is full. Expected: a sink that can be written.\n"
    )
    assert capsys.readouterr() == ("", line)
    failing.error = None
    guarded.write(3, {"loss": 1.0})
    failing.error = OSError("the disk is full")
    guarded.write(4, {"loss": 1.0})
    assert capsys.readouterr().err == line
    guarded.close()  # What could not be written is lost now.
    assert capsys.readouterr().err == line
    assert [call[1] for call in working.calls[1:-1]] == [0, 1, 2, 3, 4]


def test_a_sink_may_stop_the_program():
    guarded = GuardedSinks([own := Own()])
    own.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        guarded.begin(0)


@pytest.mark.parametrize("wrong", [3, "steps.csv", Own])
def test_what_is_not_a_sink_is_refused(wrong):
    with pytest.raises(UsageError, match="a sink is wrong"):
        GuardedSinks([wrong])


def test_a_single_sink_outside_a_list_is_refused():
    with pytest.raises(UsageError, match=r"Received: <.*Own.*Expected: a list of sinks\."):
        GuardedSinks(Own())


def test_a_mistake_in_a_sink_is_called_by_its_type(capsys):
    guarded = GuardedSinks([failing := Own()])
    failing.error = KeyError("loss")
    guarded.write(0, {"loss": 1.0})
    assert "Received: KeyError: 'loss'." in capsys.readouterr().err
