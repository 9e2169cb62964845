import collections
import concurrent.futures
import contextlib
import json
import os
import re
import socket
import sys
import threading
import time

import pytest

from mnist_keras.distributed import messages, rendezvous
from mnist_keras.distributed.cluster import Cluster
from mnist_keras.errors import MnistKerasError, UsageError
from tests.cluster import free_addresses

# Nothing here takes long, except on a busy machine.
LONG_S = 60


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch):
    monkeypatch.setattr(rendezvous, "_LINGER_S", 1.0)


def meet_all(addresses, indices, *, settings=lambda index: {}, timeout_s=LONG_S):
    """The error of `meet` on each worker, or None."""

    def one(index):
        try:
            rendezvous.meet(
                Cluster(addresses, index, ""), settings=settings(index), timeout_s=timeout_s
            )
        except MnistKerasError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(indices)) as pool:
        return list(pool.map(one, indices))


def test_workers_that_have_all_started_meet():
    assert meet_all(tuple(free_addresses(3)), [2, 0, 1]) == [None] * 3


@pytest.mark.slow
def test_the_others_name_a_worker_that_does_not_start():
    addresses = tuple(free_addresses(3))
    errors = meet_all(addresses, [0, 2], timeout_s=0.5)
    for error in errors:
        assert type(error) is MnistKerasError
        assert str(error) == (
            f"not all workers have started within 0.5 s. Received: nothing from worker 1 "
            f"({addresses[1]}). Expected: all 3 started within that time, each at an address "
            "that the others can reach."
        )


@pytest.mark.slow
def test_all_workers_report_different_settings():
    errors = meet_all(
        tuple(free_addresses(3)), [0, 1, 2], settings=lambda index: {"keras": f"3.{index // 2}"}
    )
    for error in errors:
        assert type(error) is UsageError
        assert re.fullmatch(
            r"the workers have different settings\. "
            r"Received: keras 3\.\d on worker \d, keras 3\.\d on worker \d\. Expected: the same\.",
            str(error),
        )


@pytest.mark.slow
def test_a_terminated_worker_informs_the_others(monkeypatch):
    addresses = tuple(free_addresses(3))
    sleep, call, is_known = time.sleep, rendezvous._Listener.call, threading.Event()

    class SlowChannel(messages.Channel):
        def __init__(self, connection, role, **settings):
            self.is_answer = role == "listener"
            super().__init__(connection, role, **settings)

        def send(self, message):
            super().send(message)
            if self.is_answer:
                sleep(0.3)  # The other worker may have read it long before this one goes on.

    def calls(listener, index):
        is_there = call(listener, index)
        if is_there and index == 0:
            is_known.set()
        return is_there

    def end_worker_0(seconds):
        if threading.current_thread() is threading.main_thread() and seconds < 1:
            is_known.wait(LONG_S)
            sys.exit(143)
        sleep(seconds)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(rendezvous._Listener, "call", calls)
        monkeypatch.setattr(rendezvous, "Channel", SlowChannel)
        other = pool.submit(meet_all, addresses, [1])
        monkeypatch.setattr(rendezvous.time, "sleep", end_worker_0)
        with pytest.raises(SystemExit):
            rendezvous.meet(Cluster(addresses, 0, ""), settings={}, timeout_s=LONG_S)
        [error] = other.result()
    assert str(error) == "worker 0 was stopped before all workers had started."


@pytest.mark.slow
def test_two_local_workers_with_one_index_both_report_it():
    errors = meet_all(tuple(free_addresses(2)), [0, 0])
    assert all(type(error) is UsageError for error in errors)
    second, first = sorted(errors, key=str, reverse=True)
    assert str(second).startswith("worker 0 cannot listen at its address. Received: 127.0.0.1:")
    assert str(first).startswith("two workers have the same index or address. Received: worker 0 ")


@pytest.mark.slow
def test_an_address_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        cluster = Cluster((taken, *free_addresses(1)), 0, "")
        with pytest.raises(UsageError, match=r"^worker 0 cannot listen at its address\. .*in use"):
            rendezvous.meet(cluster, settings={}, timeout_s=LONG_S)


def line(value):
    return json.dumps(value).encode() + b"\n"


def body(**message):
    return line({"nonce": "1"}) + line({"body": json.dumps(message)})


SETTINGS = {"workers": ["a", "b"], "keras": "3.0"}
STRANGERS = {
    "nothing": b"",
    "HTTP": b"GET / HTTP/1.0\r\n\r\n",
    "a list": b"[]\n",
    "no settings": body(settings=1),
    "a number of workers": body(index=1, settings={**SETTINGS, "workers": 5}),
    "workers that are a text": body(index=1, settings={**SETTINGS, "workers": "ab"}),
    "no index": body(settings=SETTINGS),
    "a bool as its index": body(index=True, settings=SETTINGS),
    "infinity as its index": body(index=float("inf"), settings=SETTINGS),
    "an index that no worker has": body(index=7, settings=SETTINGS),
    "a setting that is a number": body(index=0, settings={**SETTINGS, "keras": 3}),
    "a nested setting": (
        line({"nonce": "1"})
        + line(
            {
                "body": '{"index": 0, "settings": {"workers": ["a", "b"], "keras": %s}}'
                % ("[" * 900 + "]" * 900)
            }
        )
    ),
    "numbers without an end": (
        line({"nonce": "1"})
        + line({"body": '{"index": 0, "settings": {"workers": [NaN, 1e999], "keras": "3.0"}}'})
    ),
    "a nested nonce": b'{"nonce": %s}\n' % (b"[" * 900 + b"]" * 900),
    "a failure without our settings": body(
        index=0, settings={"workers": ["a", "b"]}, failure="stop"
    ),
    "a failure that is no text": body(index=1, settings=SETTINGS, failure=[1]),
    "deeply nested": line({"nonce": "1"}) + b"[" * 100_000 + b"\n",
}


@contextlib.contextmanager
def waiting_worker(addresses, settings=None):
    """Worker 1, which waits for worker 0: a future of its error, and a function that connects."""

    def connect():
        host, _, port = addresses[1].partition(":")
        while True:
            try:
                return socket.create_connection((host, int(port)))
            except ConnectionRefusedError:
                continue

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        own = settings or {}
        yield pool.submit(meet_all, addresses, [1], settings=lambda index: own), connect


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", STRANGERS)
def test_other_programs_are_ignored(name):
    addresses = tuple(free_addresses(2))
    versions = {"keras": SETTINGS["keras"]}
    with waiting_worker(addresses, versions) as (early, connect):
        with connect() as stranger:
            stranger.sendall(STRANGERS[name])
            while stranger.recv(1000):  # Until the worker has closed the connection.
                if not STRANGERS[name]:
                    break
        assert meet_all(addresses, [0], settings=lambda index: versions) == [None]
        assert early.result() == [None]


def test_connections_that_end_while_it_stops_are_no_error():
    class Ending(collections.deque):
        """Its last item is removed before it can be taken."""

        def popleft(self):
            self.clear()
            return super().popleft()

    addresses = tuple(free_addresses(2))
    with rendezvous._Listener(Cluster(addresses, 0, ""), {}) as listener:
        ours, theirs = socket.socketpair()
        listener._connections = Ending([ours])
    with theirs:
        assert theirs.recv(1) == b""


@pytest.mark.slow
def test_silent_connections_do_not_keep_workers_apart():
    addresses = tuple(free_addresses(2))
    with contextlib.ExitStack() as open_ones:
        early, connect = open_ones.enter_context(waiting_worker(addresses))
        for _ in range(300):
            open_ones.enter_context(connect())
        assert meet_all(addresses, [0]) == [None]
        assert early.result() == [None]


def test_workers_with_one_secret_meet_and_ignore_others(monkeypatch):
    monkeypatch.setenv(messages.SECRET, "ours")
    addresses = tuple(free_addresses(2))
    with waiting_worker(addresses) as (early, connect):
        with connect() as stranger:  # As a worker that stops all others.
            settings = {"workers": list(addresses)}
            stranger.sendall(body(index=0, settings=settings, failure="stop"))
            while stranger.recv(1000):
                pass
        assert meet_all(addresses, [0]) == [None]
        assert early.result() == [None]


@pytest.mark.slow
def test_a_wrong_secret_is_named_when_time_is_up(monkeypatch):
    addresses = tuple(free_addresses(2))
    monkeypatch.setattr(messages, "_secret", lambda: os.urandom(8))  # Never the same twice.
    for error in meet_all(addresses, [0, 1], timeout_s=1):
        assert type(error) is MnistKerasError
        assert f"and the same {messages.SECRET} on all: a message had another one." in str(error)


@pytest.mark.slow
def test_a_duplicate_worker_index_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses = (*free_addresses(1), f"127.0.0.1:{server.getsockname()[1]}")

        def answer_as_worker_0():
            connection, _ = server.accept()
            with messages.Channel(connection, "listener") as channel:
                channel.receive()
                channel.send({"index": 0, "settings": {"workers": addresses}})

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answered = pool.submit(answer_as_worker_0)
            [error] = meet_all(addresses, [0])
            answered.result()
    assert type(error) is UsageError
    assert str(error) == (
        "two workers have the same index or address. Received: worker 0 where worker 1 is "
        "expected. Expected: a different index for each worker."
    )
