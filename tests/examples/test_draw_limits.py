"""A picture that takes long, or that nobody waits for, in a server with another reader."""

import asyncio
import contextlib
import importlib
import json
import signal
import socket
import threading
import types

import pytest

from mnist_keras.inputs.deadline import Deadline, DeadlineError
from mnist_keras.photos.reading import in_time
from tests.examples import bad_requests, slow_server
from tests.examples.page_server import EXAMPLE, Server

PATIENCE_S = 30


@pytest.fixture
def module(monkeypatch):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: the server is not tested")
    monkeypatch.syspath_prepend(EXAMPLE)
    return importlib.import_module("server")


class SlowReader:
    """Answers at once, except to b"slow": then it works until its deadline.

    Attributes:
        begun: set when it has begun with b"slow".
        ended: the errors that have ended such work.
    """

    def __init__(self):
        self.begun, self.ended, self.is_over = threading.Event(), [], threading.Event()

    def read(self, data, *, deadline):
        if data == b"slow":
            self.begun.set()
            try:
                with in_time("the picture"):
                    self._work(deadline)
            finally:
                self.is_over.set()
        return {"read": data.decode()}

    def _work(self, deadline):
        for _ in range(100 * PATIENCE_S):
            if self.is_over.wait(0.01):
                return
            try:
                deadline.check()
            except DeadlineError as error:
                self.ended.append(str(error))
                raise


@contextlib.asynccontextmanager
async def serving(module, reader, *, most_seconds):
    """Yields the port of a server in this process."""
    question = module.Question(
        reader.read,
        types=("image/png",),
        most_bytes=100,
        most_bytes_at_once=1000,
        most_seconds=most_seconds,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = asyncio.Event()
        served = asyncio.ensure_future(
            module.serve({"/drawing": question}, listener, started=started.set)
        )
        await started.wait()
        try:
            yield listener.getsockname()[1]
        finally:
            served.cancel()
            await asyncio.wait([served])
            question._threads.shutdown()


async def ask(port, body):
    """(status, value of the JSON) of the answer to a picture."""
    told = await bad_requests.answer(port, bad_requests.Bad(bad_requests.request(body=body), ()))
    return bad_requests.status_of(told), json.loads(told.partition(b"\r\n\r\n")[2])


async def until(event):
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


def test_a_slow_picture_does_not_hold_up_others(module):
    reader = SlowReader()

    async def scenario():
        async with serving(module, reader, most_seconds=1000) as port:
            slow = asyncio.ensure_future(ask(port, b"slow"))
            await until(reader.begun)
            others = [await ask(port, b"7") for _ in range(3)]
            assert not slow.done()
            reader.is_over.set()
            return others, await slow

    others, slow = asyncio.run(scenario())
    assert others == [(200, {"read": "7"})] * 3
    assert slow == (200, {"read": "slow"})


def test_a_picture_that_takes_too_long_is_refused(module):
    reader = SlowReader()

    async def scenario():
        async with serving(module, reader, most_seconds=0.05) as port:
            return await ask(port, b"slow")

    assert asyncio.run(scenario()) == (
        422,
        {
            "error": "the picture takes too long to read. Received: more than 0.05 s. "
            "Expected: a photo of some digits."
        },
    )


def test_a_picture_whose_client_has_gone_is_dropped(module):
    reader = SlowReader()

    async def scenario():
        async with serving(module, reader, most_seconds=1000) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bad_requests.request(body=b"slow"))
            await until(reader.begun)
            writer.close()
            await until(reader.is_over)
            return await ask(port, b"7")

    assert asyncio.run(scenario()) == (200, {"read": "7"})
    assert reader.ended == ["cancelled"]


@pytest.mark.slow
def test_the_end_of_the_server_ends_its_pictures(module):
    reader = SlowReader()

    async def scenario():
        async with serving(module, reader, most_seconds=1000) as port:
            slow = asyncio.ensure_future(ask(port, b"slow"))
            await until(reader.begun)
        await until(reader.is_over)
        slow.cancel()

    asyncio.run(scenario())
    assert reader.ended == ["cancelled"]


@pytest.mark.slow
def test_sigterm_ends_a_server_that_reads_an_endless_picture():
    server = Server("any", program=slow_server.__file__)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(bad_requests.request(path="/photo", body=b"picture"))
        assert server.next_line() == "reading\n"
        assert server.end(signal.SIGTERM) == (143, "")


def test_the_time_begins_when_a_thread_is_free(module, monkeypatch):
    begun, cancelled, released = threading.Semaphore(0), threading.Semaphore(0), threading.Event()
    are_free = []

    class RecordedDeadline(Deadline):
        def __init__(self, seconds):
            super().__init__(seconds)
            are_free.append(released.is_set())

        def cancel(self):
            cancelled.release()

    def read(data, *, deadline):
        if data == b"slow":
            begun.release()
            assert released.wait(PATIENCE_S)
        return {"read": data.decode()}

    async def scenario():
        async with serving(module, types.SimpleNamespace(read=read), most_seconds=1000) as port:
            for _ in range(2):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(bad_requests.request(body=b"slow"))
                assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE_S)
                writer.close()  # The reader does not notice.
                assert await asyncio.to_thread(cancelled.acquire, timeout=PATIENCE_S)
            waiting = asyncio.ensure_future(ask(port, b"7"))
            for _ in range(5):  # The server reads the request meanwhile.
                await bad_requests.answer(
                    port, bad_requests.Bad(bad_requests.request("GET", "/"), ())
                )
            released.set()
            return await waiting

    monkeypatch.setattr(module, "Deadline", RecordedDeadline)
    try:
        assert asyncio.run(scenario()) == (200, {"read": "7"})
    finally:
        released.set()
    assert are_free[:2] == [False, False]
    assert all(are_free[2:])
