"""Ends a worker that waits for a lost one while TensorFlow starts, and says which one is lost.

TensorFlow holds the GIL while it waits, so no Python code of the process can run. The timer of
`faulthandler` needs none: it ends the process with status 1. What it writes goes to another
process, this file run as a program, which says it in one line.
"""

import concurrent.futures
import contextlib
import faulthandler
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator

# Before the end of the time the other workers are called, while those that wait too still exist.
MARGIN_S = 5.0
_CALL_S = 2.0


@contextlib.contextmanager
def bounded(
    addresses: dict[str, str], *, timeout_s: float, delay_s: float, text: str
) -> Iterator[None]:
    """End the process with one line on stderr, status 1, if the context takes too long.

    Only on POSIX: elsewhere nothing can wait for a pipe and a time at once.

    Args:
        addresses: {name of another worker: its address}.
        timeout_s: the time for the context, in seconds.
        delay_s: how much later the process ends, in seconds.
        text: the line, with ``{}`` for the workers that are lost.
    """
    if os.name != "posix":
        yield
        return
    order = json.dumps([addresses, max(timeout_s - MARGIN_S, timeout_s / 2), text])
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, order],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the worker.
    )
    assert watch.stdin is not None
    with watch:
        faulthandler.dump_traceback_later(timeout_s + delay_s, exit=True, file=watch.stdin)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            watch.kill()  # It may be calling a silent worker.


def _lost(addresses):
    """What is known about the workers that do not answer, in words."""
    # At once: those that wait too end soon, and would be taken for lost ones.
    with concurrent.futures.ThreadPoolExecutor(len(addresses)) as pool:
        ends = dict(zip(addresses, pool.map(_end, addresses.values()), strict=True))
    found = [f"{name} ({addresses[name]}) {end}" for name, end in ends.items() if end]
    reachable = f"TensorFlow has not started, although {', '.join(addresses)} can be reached"
    return ", ".join(found) or reachable


def _end(address):
    """What happened to the worker at an address; None: it answers."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CALL_S).close()
    except ConnectionError:
        return "has exited"
    except OSError:
        return "does not respond"
    return None


def _watch(addresses, call_after_s, text):
    if select.select([sys.stdin], [], [], call_after_s)[0]:
        return  # It has started or has been killed.
    lost = _lost(addresses)
    if sys.stdin.buffer.read(1):
        sys.stderr.write(text.replace("{}", lost) + "\n")


if __name__ == "__main__":
    _watch(*json.loads(sys.argv[1]))
