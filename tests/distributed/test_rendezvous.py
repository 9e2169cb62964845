import concurrent.futures
import json
import re
import socket
import sys
import threading
import time

import pytest

from mnist_keras.distributed import rendezvous
from mnist_keras.distributed.cluster import Cluster
from mnist_keras.errors import MnistKerasError, UsageError
from tests.cluster import free_addresses

# Nothing here takes long, but the machine may be busy.
LONG_S = 60


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch):
    monkeypatch.setattr(rendezvous, "_LINGER_S", 1.0)


def meet_all(addresses, indices, *, told=lambda index: {}, wait_s=LONG_S):
    """What `meet` comes to on each of these workers: None or its error."""

    def one(index):
        try:
            rendezvous.meet(Cluster(addresses, index, ""), told=told(index), wait_s=wait_s)
        except MnistKerasError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(indices)) as pool:
        return list(pool.map(one, indices))


def test_workers_that_are_all_there_meet():
    assert meet_all(tuple(free_addresses(3)), [2, 0, 1]) == [None] * 3


def test_one_that_does_not_come_is_named_by_all_others():
    addresses = tuple(free_addresses(3))
    errors = meet_all(addresses, [0, 2], wait_s=0.5)
    for error in errors:
        assert type(error) is MnistKerasError
        assert str(error) == (
            f"not all workers have come within 0.5 s. Received: nothing from worker 1 "
            f"({addresses[1]}). Expected: all 3, started within that time, each at an address "
            "that the others reach."
        )


def test_all_learn_of_one_that_was_told_something_else():
    errors = meet_all(
        tuple(free_addresses(3)), [0, 1, 2], told=lambda index: {"keras": f"3.{index // 2}"}
    )
    for error in errors:
        assert type(error) is UsageError
        assert re.fullmatch(
            r"the workers were told different things\. "
            r"Received: keras 3\.\d by worker \d, keras 3\.\d by worker \d\. Expected: the same\.",
            str(error),
        )


def test_a_worker_that_is_ended_meanwhile_says_so_to_the_others(monkeypatch):
    addresses = tuple(free_addresses(3))
    sleep, ask, is_known = time.sleep, rendezvous._Listener.ask, threading.Event()

    def asks(listener, index):
        is_there = ask(listener, index)
        if is_there and index == 0:
            is_known.set()
        return is_there

    def end_worker_0(seconds):
        if threading.current_thread() is threading.main_thread() and seconds < 1:
            is_known.wait(LONG_S)
            sys.exit(143)
        sleep(seconds)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(rendezvous._Listener, "ask", asks)
        other = pool.submit(meet_all, addresses, [1])
        monkeypatch.setattr(rendezvous.time, "sleep", end_worker_0)
        with pytest.raises(SystemExit):
            rendezvous.meet(Cluster(addresses, 0, ""), told={}, wait_s=LONG_S)
        [error] = other.result()
    assert str(error) == "worker 0 was ended before all had come."


def test_both_of_two_that_have_one_number_on_one_machine_learn_of_it():
    errors = meet_all(tuple(free_addresses(2)), [0, 0])
    assert all(type(error) is UsageError for error in errors)
    second, first = sorted(errors, key=str, reverse=True)
    assert str(second).startswith("worker 0 cannot listen at its address. Received: 127.0.0.1:")
    assert str(first).startswith("two workers have one number or one address. Received: worker 0 ")


def test_an_address_that_is_in_use_is_no_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        cluster = Cluster((taken, *free_addresses(1)), 0, "")
        with pytest.raises(UsageError, match=r"^worker 0 cannot listen at its address\. .*in use"):
            rendezvous.meet(cluster, told={}, wait_s=LONG_S)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.0\r\n\r\n", b"[]\n", b'{"told": 1}\n'])
def test_strangers_are_not_listened_to(said):
    addresses = tuple(free_addresses(2))
    host, _, port = addresses[1].partition(":")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        early = pool.submit(meet_all, addresses, [1])
        while True:
            try:
                with socket.create_connection((host, int(port))) as stranger:
                    stranger.sendall(said)
                break
            except ConnectionRefusedError:
                continue
        assert meet_all(addresses, [0]) == [None]
        assert early.result() == [None]


def test_a_number_that_two_workers_have_is_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses = (*free_addresses(1), f"127.0.0.1:{server.getsockname()[1]}")

        def answer_as_worker_0():
            connection, _ = server.accept()
            with connection:
                connection.recv(2**16)
                said = {"index": 0, "told": {"workers": addresses}}
                connection.sendall(json.dumps(said).encode() + b"\n")

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answered = pool.submit(answer_as_worker_0)
            [error] = meet_all(addresses, [0])
            answered.result()
    assert type(error) is UsageError
    assert str(error) == (
        "two workers have one number or one address. Received: worker 0 where worker 1 is "
        "expected. Expected: each number once."
    )
