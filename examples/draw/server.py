"""The web server of the page: two questions, some files, and limits on every request."""

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import logging
import pathlib
import traceback
import typing
import urllib.parse

from aiohttp import web

from mnist_keras.console.terminal import notice
from mnist_keras.errors import DataError
from mnist_keras.inputs.deadline import Deadline

HOSTS = ("127.0.0.1", "localhost")
MOST_CONNECTIONS = 100
HEADERS_S, BODY_S = 3, 8  # for the complete headers or body, even if they arrive slowly
_AT_ONCE = 2  # Pictures that are read side by side, so that a slow one does not hold up others.
_BACKLOG = 50
_PAGE = pathlib.Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "draw",
    "X-Content-Type-Options": "nosniff",
}
_DEBUG = web.AppKey("debug", bool)
_UNDISTURBED = logging.getLogger("examples.draw.aiohttp")
_UNDISTURBED.disabled = True  # The client gets the error in the response.


class Question:
    """The limits on a picture, and the threads that read such pictures.

    Args:
        read: a function from the bytes of a picture and a `Deadline` to an answer for JSON. The
            client gets the text of a DataError.
        types: accepted content types, by prefix.
        most_bytes: maximum size of a picture.
        most_bytes_at_once: maximum size of all pictures in memory, from the first byte of a picture
            to its answer.
        most_seconds: the time for reading a picture.
    """

    def __init__(self, read, *, types, most_bytes, most_bytes_at_once, most_seconds):
        self._read, self._types, self._most_bytes = read, types, most_bytes
        self._bytes_left, self._most_seconds = most_bytes_at_once, most_seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = concurrent.futures.ThreadPoolExecutor(_AT_ONCE)

    async def answer(self, request):
        """Answer a request that contains a picture."""
        self._check(request)
        with self._room(request.content_length):
            data = await _body_in_time(request)
            await self._turns.acquire()
            answer = await self._read_in_thread(data)
        return _response(200, json.dumps(answer).encode(), "application/json")

    async def _read_in_thread(self, data):
        deadline = Deadline(self._most_seconds)
        reading = self._threads.submit(self._read, data, deadline=deadline)
        # Not when the client is gone: until the thread has noticed, it is not free for the next.
        reading.add_done_callback(functools.partial(self._end_turn, asyncio.get_running_loop()))
        try:
            return await asyncio.wrap_future(reading)
        except asyncio.CancelledError:  # The client is gone, or the server ends.
            deadline.cancel()
            raise

    def _end_turn(self, loop, reading):
        with contextlib.suppress(RuntimeError):  # The server has ended.
            loop.call_soon_threadsafe(self._turns.release)

    def _check(self, request):
        is_coded = "Content-Encoding" in request.headers
        if is_coded or not request.content_type.startswith(self._types):
            raise _Refusal(415, f"a picture is expected, of type {' or '.join(self._types)}")
        if request.content_length is None:
            raise _Refusal(411, "the picture's length is missing")
        if request.content_length > self._most_bytes:
            raise _Refusal(413, f"the picture is too large: at most {self._most_bytes} bytes")

    @contextlib.contextmanager
    def _room(self, size):
        if size > self._bytes_left:
            raise _Refusal(503, "the server is busy: ask again in a second", {"Retry-After": "1"})
        self._bytes_left -= size
        try:
            yield
        finally:
            self._bytes_left += size

    def close(self):
        """Let each thread end after the picture that it is reading."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _body_in_time(request):
    try:
        return await asyncio.wait_for(request.read(), BODY_S)
    except asyncio.TimeoutError:
        raise _Refusal(408, f"the picture did not arrive within {BODY_S} seconds") from None


class _Refusal(Exception):
    """A refused request: status, one line of text, headers."""

    def __init__(self, status, line, headers=()):
        super().__init__(line)
        self.response = _response(
            status, json.dumps({"error": line}).encode(), "application/json", headers
        )
        if status == 408:
            self.response.force_close()


class _Connection(web.RequestHandler):
    """aiohttp's handler; input that is not HTTP gets an answer like any other error."""

    __slots__ = ()

    def handle_error(self, request, status=500, exc=None, message=None):
        """Answer a request that did not reach a handler."""
        response = _Refusal(status, "the server does not understand the request").response
        response.force_close()
        return response


class _Crowd(asyncio.Protocol):
    """A connection over the limit, which is refused."""

    def connection_made(self, transport):
        transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")
        transport.close()


async def serve(questions, listener, *, started, debug=False):
    """Answer until cancelled.

    Args:
        questions: {path: `Question`}.
        listener: a bound socket.
        started: called when the server is ready.
        debug: print the traceback of an unexpected error on stderr.
    """
    runner = web.AppRunner(
        _application(questions, debug), shutdown_timeout=1, handler_cancellation=True
    )
    await runner.setup()
    manager = typing.cast(web.Server, runner.server)  # setup() has made it.
    loop = asyncio.get_running_loop()

    def connection():
        if len(manager.connections) >= MOST_CONNECTIONS:
            return _Crowd()
        return _Connection(
            manager,
            loop=loop,
            logger=_UNDISTURBED,
            access_log=_UNDISTURBED,
            keepalive_timeout=HEADERS_S,
            lingering_time=HEADERS_S,
            auto_decompress=False,
        )

    try:
        async with await loop.create_server(connection, sock=listener, backlog=_BACKLOG) as server:
            started()
            await server.serve_forever()
    finally:
        for question in questions.values():
            question.close()
        await runner.cleanup()


def _application(questions, debug):
    application = web.Application(middlewares=[_guard], client_max_size=0)
    application[_DEBUG] = debug
    for file in _PAGE.iterdir():
        path = "/" if file.name == "index.html" else f"/{file.name}"
        application.router.add_get(path, _always(file.read_bytes(), _TYPES[file.suffix]))
    for path, question in questions.items():
        application.router.add_post(path, question.answer)
    return application


def _always(content, content_type):
    async def handler(request):
        return _response(200, content, content_type)

    return handler


@web.middleware
async def _guard(request, handler):
    """Refuse pages of other hosts, and answer every error with a line of JSON."""
    try:
        _refuse_strangers(request)
        return await handler(request)
    except _Refusal as refusal:
        return refusal.response
    except DataError as error:
        return _Refusal(422, str(error)).response
    except web.HTTPException as error:
        allow = {name: value for name, value in error.headers.items() if name == "Allow"}
        return _Refusal(error.status, error.reason.lower(), allow).response
    except (ConnectionError, web.RequestPayloadError):
        raise  # The client is gone, so nobody would read an answer.
    except Exception as error:
        notice(f"error: {type(error).__name__} at {request.path!r}. --debug shows where.")
        if request.app[_DEBUG]:
            notice(traceback.format_exc().rstrip())
        return _Refusal(500, "the server failed; its terminal shows the error").response


def _refuse_strangers(request):
    # Another site's name may resolve to this machine. Its page could then read the answers.
    if _host_name(request.headers.get("Host", "")) not in HOSTS:
        raise _Refusal(421, f"the request is for another host; this one is {HOSTS[0]}")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.headers['Host']}":
        raise _Refusal(403, "the request comes from a page of another site")


def _host_name(host):
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _response(status, body, content_type, headers=()):
    return web.Response(
        status=status,
        body=body,
        content_type=content_type,
        charset="utf-8",
        headers={**_HEADERS, **dict(headers)},
    )
