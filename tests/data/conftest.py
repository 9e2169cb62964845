"""A local mirror whose answers a test chooses, and a small data set on it."""

import contextlib
import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from mnist_keras.data.datasets.catalog import Source
from mnist_keras.data.datasets.download import Limits
from mnist_keras.data.formats.idx import sha256_idx, write_idx

REAL_MNIST = Path(__file__).parents[3] / "shared" / "mnist"
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@pytest.fixture(autouse=True)
def no_outside(monkeypatch, tmp_path):
    """No test uses the user's directories or proxies."""
    for name in ("MNIST_KERAS_DATA_DIR", "MNIST_KERAS_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no_keras"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no_tfds"))


@pytest.fixture
def real_mnist():
    if not REAL_MNIST.is_dir():
        pytest.skip("the real MNIST files are not here: nothing is checked against them")
    return REAL_MNIST


@pytest.fixture
def limits():
    """Time limits short enough for a test and long enough for a busy machine."""
    return Limits(connect_s=2, stall_s=0.4, decision_s=6, backoff_s=0.001, lock_idle_s=0.1)


@pytest.fixture
def arrays():
    """The four arrays of a data set of 30 and 10 examples."""
    rng = np.random.default_rng(7)
    halves = [
        (rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8))
        for count in (30, 10)
    ]
    return [array for half in halves for array in half]


@pytest.fixture
def published(arrays, tmp_path):
    """{file name: its published bytes}."""
    bytes_of = {}
    for name, array in zip(FILES, arrays, strict=True):
        write_idx(tmp_path / "published.gz", array)
        bytes_of[name] = (tmp_path / "published.gz").read_bytes()
    (tmp_path / "published.gz").unlink()
    return bytes_of


@pytest.fixture
def source_at(arrays):
    """Makes a Source "mnist" with these mirrors."""

    def make(*mirrors):
        sums = tuple(sha256_idx(array) for array in arrays)
        return {"mnist": Source(name="mnist", mirrors=mirrors, sha256=sums, sums_are_of="content")}

    return make


class Mirror:
    """``routes`` maps a path to its answers, one per request; the last one repeats.

    An answer is bytes to send, a status, or a function of the request handler. ``requests``
    lists the requested paths.
    """

    def __init__(self, routes=None):
        self.routes = {path: [answer] for path, answer in (routes or {}).items()}
        self.requests = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.requests.append(self.path[1:])
                answers = mirror.routes.get(self.path[1:], [404])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                # the client may close a connection that timed out
                with contextlib.suppress(ConnectionError):
                    answer(self) if callable(answer) else mirror.send(self, answer)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self.released = threading.Event()
        self._thread = threading.Thread(
            target=functools.partial(self._server.serve_forever, poll_interval=0.01)
        )
        self._thread.start()

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @staticmethod
    def send_headers(handler, length, status=200, **headers):
        handler.send_response(status)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    def send(self, handler, answer):
        status, body = (answer, b"") if isinstance(answer, int) else (200, answer)
        self.send_headers(handler, len(body), status)
        handler.wfile.write(body)

    def redirect(self, location):
        return lambda handler: self.send_headers(handler, 0, 302, Location=location)

    def truncate(self, body):
        """An answer that ends before its Content-Length."""

        def answer(handler):
            self.send_headers(handler, len(body))
            handler.wfile.write(body[: len(body) // 2])

        return answer

    def stall(self, handler):
        """Never answers."""
        self.released.wait(60)

    def stall_after(self, body, sent=None):
        """An answer that stops after the headers and the first half of ``body``."""

        def answer(handler):
            self.send_headers(handler, len(body))
            handler.wfile.write(body[: len(body) // 2])
            if sent is not None:
                sent.set()
            self.released.wait(60)

        return answer


@pytest.fixture
def mirrors():
    """Starts mirrors: ``mirrors({path: answer}) -> Mirror``."""
    with contextlib.ExitStack() as stack:

        def start(routes=None):
            mirror = Mirror(routes)
            stack.callback(mirror.close)
            return mirror

        yield start


@pytest.fixture
def dead_url():
    """The address of a closed port."""
    server = http.server.HTTPServer(("127.0.0.1", 0), None)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}/"
