import io
import signal
import socket
import subprocess
import sys
import threading
import types

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


def test_silent_workers_are_called_at_once(said, monkeypatch):
    together = threading.Barrier(3, timeout=5)

    def silent(place, timeout):
        together.wait()
        raise TimeoutError

    monkeypatch.setattr(start_watch.socket, "create_connection", silent)
    silent_ones = ", ".join(f"worker {i} (a:{i}) does not respond" for i in range(3))
    addresses = {f"worker {i}": f"a:{i}" for i in range(3)}
    assert said(addresses, b"Timeout") == TEXT.replace("{}", silent_ones) + "\n"


def test_workers_that_all_answer_are_named(said, monkeypatch):
    monkeypatch.setattr(start_watch.socket, "create_connection", lambda *_: io.BytesIO())
    assert "TensorFlow has not started, although worker 1 can be reached." in said(
        {"worker 1": "a:1"}, b"Timeout"
    )


def test_a_normal_start_does_not_wait_for_its_watch(monkeypatch, tmp_path):
    program, started = tmp_path / "watch.py", []
    program.write_text("import time\ntime.sleep(20)\n")
    popen = subprocess.Popen
    monkeypatch.setattr(start_watch, "__file__", str(program))
    monkeypatch.setattr(
        start_watch.subprocess,
        "Popen",
        lambda *a, **k: started.append(popen(*a, **k)) or started[0],
    )
    with start_watch.bounded({"worker 1": "a:1"}, timeout_s=60, delay_s=0, text=TEXT):
        pass
    assert started[0].returncode == -signal.SIGKILL


def test_no_watch_starts_where_it_cannot_wait(monkeypatch):
    monkeypatch.setattr(start_watch, "os", types.SimpleNamespace(name="nt"))
    monkeypatch.setattr(start_watch.subprocess, "Popen", None)
    with start_watch.bounded({"worker 1": "a:1"}, timeout_s=60, delay_s=0, text=TEXT):
        pass


def test_a_worker_that_starts_in_time_says_nothing(said):
    assert said({"worker 1": free_addresses(1)[0]}, b"") == ""


@pytest.mark.slow
def test_a_worker_that_waits_for_a_lost_one_ends():
    [gone] = free_addresses(1)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, gone], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (1, f"lost: worker 0 ({gone}) has exited\n")
