"""The stream that a plain ``keras.Model`` trains on.

Keras tells the data when an epoch begins, but it does not tell the callbacks which data it trains
on. A callback forgets the stream in its ``on_epoch_begin``, which Keras calls just before the data
begin. At the end of the epoch it finds the stream that began first. Validation begins later.
"""

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_keras.data.stream import BatchStream


class _Begun(threading.local):
    """Each thread may run a fit of its own."""

    stream: "weakref.ref[BatchStream] | None" = None


_BEGUN = _Begun()


def forget() -> None:
    """Forget the stream of the last epoch of this thread."""
    _BEGUN.stream = None


def note(stream: "BatchStream") -> None:
    """Note that Keras begins a pass over a stream; only the first one counts."""
    if _BEGUN.stream is None:
        _BEGUN.stream = weakref.ref(stream)


def first() -> "BatchStream | None":
    """The first `BatchStream` that began since `forget`, or None."""
    return None if _BEGUN.stream is None else _BEGUN.stream()
