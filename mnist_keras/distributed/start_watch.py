"""Ends a worker that waits for a lost one while TensorFlow starts, and says which one is lost.

TensorFlow holds the GIL while it waits, so no Python code of the process can run. The timer of
`faulthandler` needs none: it ends the process with status 1. What it writes goes to another
process, this file run as a program, which says it in one line.
"""

import contextlib
import faulthandler
import json
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

    Args:
        addresses: {name of another worker: its address}.
        timeout_s: the time for the context, in seconds.
        delay_s: how much later the process ends, in seconds.
        text: the line, with ``{}`` for the workers that are lost.
    """
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


def _lost(addresses):
    """What is known about the workers that do not answer, in words."""
    found = []
    for name, address in addresses.items():
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CALL_S).close()
        except ConnectionError:
            found.append(f"{name} ({address}) has exited")
        except OSError:
            found.append(f"{name} ({address}) does not respond")
    return ", ".join(found) or f"no end of the start, though {', '.join(addresses)} can be reached"


def _watch(addresses, call_after_s, text):
    if select.select([sys.stdin], [], [], call_after_s)[0]:
        return  # It has started or has been killed.
    lost = _lost(addresses)
    if sys.stdin.buffer.read(1):
        sys.stderr.write(text.replace("{}", lost) + "\n")


if __name__ == "__main__":
    _watch(*json.loads(sys.argv[1]))
