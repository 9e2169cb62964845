import io
import socket
import subprocess
import sys

import pytest

from mnist_keras.distributed import start_watch
from tests.cluster import free_addresses

TEXT = "error: a worker was lost. Received: {}."
# A process whose main thread holds the GIL for longer than the time, as TensorFlow does.
PROGRAM = """
import ctypes, sys
from mnist_keras.distributed import start_watch
others = {f"worker {index}": address for index, address in enumerate(sys.argv[1:])}
with start_watch.bounded(others, timeout_s=0.2, delay_s=0.1, text="lost: {}"):
    ctypes.PyDLL(None).sleep(60)
"""


@pytest.fixture
def said(monkeypatch):
    """A function that returns what the watch of a worker says at the end."""

    def watch(addresses, written):
        stdin, stderr = io.TextIOWrapper(io.BytesIO(written)), io.StringIO()
        monkeypatch.setattr(start_watch.sys, "stdin", stdin)
        monkeypatch.setattr(start_watch.sys, "stderr", stderr)
        monkeypatch.setattr(start_watch.select, "select", lambda *files: ([], [], []))
        start_watch._watch(addresses, 9.0, TEXT)
        return stderr.getvalue()

    return watch


def test_the_worker_that_has_exited_is_named(said):
    [gone] = free_addresses(1)
    with socket.create_server(("127.0.0.1", 0)) as waiting:
        here = f"127.0.0.1:{waiting.getsockname()[1]}"
        assert said({"worker 1": gone, "worker 2": here}, b"Timeout") == (
            f"error: a worker was lost. Received: worker 1 ({gone}) has exited.\n"
        )


def test_a_worker_that_starts_in_time_says_nothing(said):
    assert said({"worker 1": free_addresses(1)[0]}, b"") == ""


@pytest.mark.slow
def test_a_worker_that_waits_for_a_lost_one_ends():
    [gone] = free_addresses(1)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, gone], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (1, f"lost: worker 0 ({gone}) has exited\n")
