import doctest
import socket

import pytest

from mnist_keras.distributed import messages
from mnist_keras.distributed.messages import Channel, StrangerError


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(messages).failed == 0


SENT = {"long": b"x" * 2**21, "cut": b"{}", "3": b"3\n", "nested": b"[" * 100_000 + b"\n"}


@pytest.mark.parametrize("name", SENT)
def test_what_is_not_a_line_of_json_is_refused(name):
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
    with ours, theirs:
        theirs.setblocking(False)
        theirs.send(SENT[name])
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(StrangerError):
            Channel(ours, "caller")


def test_a_slow_sender_is_cut_off_after_the_time_limit(monkeypatch):
    clock = iter(range(0, 100, 2))  # Two seconds for each byte.
    monkeypatch.setattr(messages.time, "monotonic", lambda: next(clock))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(socket.socket, "recv", lambda self, size: b" ")
        with pytest.raises(TimeoutError):
            Channel(ours, "caller")


def test_a_proof_that_is_not_a_text_is_refused(monkeypatch):
    monkeypatch.setenv(messages.SECRET, "ours")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"nonce": "1"}\n{"body": "{}", "proof": "\\ud800"}\n')
        with pytest.raises(messages.WrongSecretError):
            Channel(ours, "listener").receive()


def test_a_message_that_was_recorded_is_refused(monkeypatch):
    monkeypatch.setenv(messages.SECRET, "ours")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"nonce": "1"}\n')
        Channel(ours, "caller").send({"index": 0})
        recorded = theirs.recv(10_000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(recorded)
        with pytest.raises(messages.WrongSecretError):
            Channel(ours, "listener").receive()
