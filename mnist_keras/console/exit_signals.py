"""Ends the process at a signal, and remembers the signal if the process survives it."""

import math
import os
import signal
import sys
import time

# Ctrl-C, kill, a closed terminal and Ctrl-\; Windows has the first two.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)
# Schedulers send a signal several times: what comes within this time counts as one.
BURST_S = 1.0

_received = 0
_handled_at_s = -math.inf


def exit_at_once() -> None:
    """From now on each of `SIGNALS` ends the process, status 128 + signal, without an exception.

    For the time of the imports, when there is nothing to clean up: code of Python's own can lose an
    exception there, and prints it.
    """
    _handle(lambda signum, frame: os._exit(128 + signum))


def exit_at_signals() -> None:
    """From now on each of `SIGNALS` raises ``SystemExit`` in the main thread, status 128 + signal.

    A signal that the process was started to ignore, as by ``nohup``, stays ignored. Code that
    suppresses every exception, such as ``__del__`` or a ``hasattr`` in C, can lose the exception.
    `received` then still returns the signal, and `mnist_keras.callbacks.GracefulShutdown` ends the
    training at its first step.
    """
    _handle(_exit)


def is_ignored(signum: int) -> bool:
    """Whether the process ignores a signal."""
    return signal.getsignal(signum) == signal.SIG_IGN


def received() -> int:
    """The number of the signal that `exit_at_signals` handled, or 0.

    Example:

    >>> received()
    0
    """
    return _received


def note_handled() -> None:
    """Ignore the signals of the next second: another handler has begun to end the process."""
    global _handled_at_s
    _handled_at_s = time.monotonic()


def ignore_the_rest() -> None:
    """After a signal, ignore others until the process has ended; its exit status stays the first's.

    Python restores the default handlers when it ends, and they would kill it.
    """
    if _handled_at_s > -math.inf:
        _handle(signal.SIG_IGN)


def _handle(handler):
    for signum in SIGNALS:
        if not is_ignored(signum):
            signal.signal(signum, handler)


def _exit(signum, frame):
    global _received
    if time.monotonic() - _handled_at_s < BURST_S:
        return
    _received = signum
    note_handled()
    sys.exit(128 + signum)
