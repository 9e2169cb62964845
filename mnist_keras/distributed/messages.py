"""The messages of workers that meet: bounded in size and time, with proof of a shared secret.

Both sides of a TCP connection first send a line with a number used once, then lines of JSON:

    {"nonce": "5f0c..."}
    {"body": "{...}", "proof": "9b1d..."}

The proof is the HMAC-SHA256 of both numbers and the body by the secret that the environment
variable MNIST_KERAS_SECRET has on all workers. Without a secret it is not looked at.
"""

import hmac
import json
import os
import secrets
import socket
import time
from typing import Any, Literal

from typing_extensions import Self

from mnist_keras.inputs import json_text

SECRET = "MNIST_KERAS_SECRET"
TIMEOUT_S = 5.0
_MOST_BYTES = 2**20


class StrangerError(Exception):
    """Something that is not one of the workers is at the other end.

    Example:

    >>> StrangerError("it speaks HTTP")
    StrangerError('it speaks HTTP')
    """


class WrongSecretError(StrangerError):
    """The other end does not know the secret.

    Example:

    >>> issubclass(WrongSecretError, StrangerError)
    True
    """


class Channel:
    """A connection between two workers, for a bounded time.

    Args:
        connection: a connected socket.
        side: which side this is.
        timeout_s: how long it lasts at most, in seconds.

    Raises:
        StrangerError: raised from each method if the other side does not keep to the protocol.
        OSError: the connection breaks or takes too long.

    Example:

    >>> import threading
    >>> ours, theirs = socket.socketpair()
    >>> answer = threading.Thread(target=lambda: Channel(theirs, "listener").send({"index": 1}))
    >>> answer.start()
    >>> Channel(ours, "caller").receive()
    {'index': 1}
    >>> answer.join(), ours.close(), theirs.close()
    (None, None, None)
    """

    def __init__(
        self,
        connection: socket.socket,
        side: Literal["caller", "listener"],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._connection = connection
        self._deadline_s = time.monotonic() + timeout_s
        self._received = bytearray()
        self._own = secrets.token_hex(16)
        self._is_caller = side == "caller"
        self._send_line({"nonce": self._own})
        self._other = _text(self._receive_line(), "nonce")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, in types that JSON can represent."""
        body = json.dumps(message)
        self._send_line({"body": body, "proof": self._proof(body, by_caller=self._is_caller)})

    def receive(self) -> dict[str, Any]:
        """The next message of the other side."""
        line = self._receive_line()
        body = _text(line, "body")
        proof = self._proof(body, by_caller=not self._is_caller)
        received = line.get("proof", "")
        received = received.encode(errors="replace") if isinstance(received, str) else b""
        if _secret() and not hmac.compare_digest(proof.encode(), received):
            raise WrongSecretError
        return _parsed(body)

    def _proof(self, body, *, by_caller):
        caller, listener = (self._own, self._other) if self._is_caller else (self._other, self._own)
        signed = json.dumps([by_caller, caller, listener, body]).encode()
        return hmac.new(_secret(), signed, "sha256").hexdigest()

    def _send_line(self, line):
        self._connection.settimeout(self._left_s())
        self._connection.sendall(json.dumps(line).encode() + b"\n")

    def _receive_line(self):
        while b"\n" not in self._received:
            self._connection.settimeout(self._left_s())
            received = self._connection.recv(2**16)
            self._received += received
            if not received or len(self._received) > _MOST_BYTES:
                raise StrangerError("no line")
        line, _, self._received = self._received.partition(b"\n")
        return _parsed(line)

    def _left_s(self):
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def _secret():
    return os.environ.get(SECRET, "").encode()


def _text(line, name):
    value = line.get(name)
    if not isinstance(value, str):  # A deeply nested one has no text either.
        raise StrangerError(f"no {name}")
    return value


def _parsed(text):
    try:
        value = json_text.parse(text)
    except ValueError as error:
        raise StrangerError("no JSON") from error
    if not isinstance(value, dict):
        raise StrangerError("no JSON object")
    return value
