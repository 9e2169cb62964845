"""Ends the process at SIGTERM, and remembers the signal if the process survives it."""

import signal
import sys

_received = 0


def exit_at_sigterm() -> None:
    """From now on SIGTERM raises ``SystemExit`` with status 143 in the main thread.

    Code that suppresses every exception, such as ``__del__`` or a ``hasattr`` in C, can lose it.
    `received` then still returns the signal, and `mnist_keras.callbacks.GracefulShutdown` ends the
    training at its first step.
    """
    signal.signal(signal.SIGTERM, _exit)


def received() -> int:
    """The number of the signal that `exit_at_sigterm` handled, or 0.

    Example:

    >>> received()
    0
    """
    return _received


def _exit(signum, frame):
    global _received
    _received = signum
    sys.exit(128 + signum)
