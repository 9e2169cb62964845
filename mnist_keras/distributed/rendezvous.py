"""How workers find each other before TensorFlow starts, which would wait an hour without a word.

Each worker listens at its own address. It calls every other address until it has an answer from
each worker and each worker has called it. Both sides of a call send one message, with their index
and the settings that have to agree:

    {"index": 1, "settings": {"workers": [...], "keras": "3.15.1", ...}, "failure": null,
     "status": 0}

A worker that finds an error sends it to every worker that calls, then exits. Whatever else connects
is ignored. `mnist_keras.distributed.messages` describes how messages travel, and the secret that
keeps strangers from taking part.
"""

import collections
import contextlib
import socket
import threading
import time

from mnist_keras.distributed import messages
from mnist_keras.distributed.messages import Channel, StrangerError, WrongSecretError
from mnist_keras.errors import MnistKerasError, UsageError

_CALL_EVERY_S = 0.2
_INTRODUCTION_S = 1.0
_LINGER_S = 2  # After an error, so that workers that call meanwhile receive it.
_MOST_CONNECTIONS = 200  # Open ones; more than there are workers, and no burden.


def meet(cluster, *, settings, timeout_s):
    """Wait until all workers of a cluster have started.

    Args:
        cluster: a `mnist_keras.distributed.cluster.Cluster`.
        settings: what has to be the same on all workers besides their addresses, {name: text}.
        timeout_s: how long to wait, in seconds.

    Raises:
        UsageError: the address is not free, or the workers have different settings.
        MnistKerasError: a worker has not started in time, or has failed.
    """
    settings = {"workers": list(cluster.addresses), **settings}
    with _Listener(cluster, settings) as listener:
        deadline_s = time.monotonic() + timeout_s
        missing = set(range(len(cluster.addresses))) - {cluster.index}
        try:
            while missing or not listener.was_called_by_all:
                listener.raise_failure()
                if time.monotonic() > deadline_s:
                    raise listener.not_all_started(missing or listener.not_calling, timeout_s)
                missing -= {index for index in missing if listener.call(index)}
                if missing or not listener.was_called_by_all:
                    time.sleep(_CALL_EVERY_S)
        except BaseException as error:  # A signal ends a worker by an exception too.
            if not isinstance(error, MnistKerasError):
                error = MnistKerasError(
                    f"worker {cluster.index} was stopped before all workers had started."
                )
            listener.failure = listener.failure or error
            listener.send_failure_to_callers()
            time.sleep(_LINGER_S)
            raise


class _Listener:
    """Answers the other workers, each connection in its own thread."""

    def __init__(self, cluster, settings):
        self.failure = None
        self._cluster = cluster
        self._own = {"index": cluster.index, "settings": settings}
        self._heard_from: set[int] = set()
        self._called_by = {cluster.index}  # They have this worker's answer.
        self._has_wrong_secret = False
        self._connections: collections.deque[socket.socket] = collections.deque()
        port = int(cluster.addresses[cluster.index].rpartition(":")[2])
        is_dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if is_dual else socket.AF_INET
        try:
            self._server = socket.create_server(("", port), family=family, dualstack_ipv6=is_dual)
        except OSError as error:
            self._introduce_itself_at(port)
            raise UsageError(
                f"worker {cluster.index} cannot listen at its address. Received: "
                f"{cluster.addresses[cluster.index]}: {error.strerror or error}. "
                "Expected: a free port of this machine, and a different index for each worker."
            ) from error
        self._server.settimeout(_CALL_EVERY_S)
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="rendezvous", daemon=True)

    def _introduce_itself_at(self, port):
        """Let a worker on this machine that has the same index find out."""
        with (
            contextlib.suppress(OSError, StrangerError),
            _called(("localhost", port), timeout_s=_INTRODUCTION_S) as channel,
        ):
            channel.send(self._message())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._is_closed = True
        self._thread.join(messages.TIMEOUT_S)
        self._server.close()
        for connection in list(self._connections):  # Its thread removes it at any moment.
            _shut(connection)

    @property
    def not_calling(self):
        """The indices of the workers that have not called yet, a set."""
        return set(range(len(self._cluster.addresses))) - self._called_by

    @property
    def was_called_by_all(self):
        """Whether every other worker has called."""
        return not self.not_calling

    def raise_failure(self):
        """Raise the error that a call has shown, if any."""
        if self.failure is not None:
            raise self.failure

    def call(self, index):
        """Call a worker; whether it answers."""
        host, _, port = self._cluster.addresses[index].rpartition(":")
        try:
            with _called((host.strip("[]"), int(port))) as channel:
                channel.send(self._message())
                other = self._receive(channel)
        except (OSError, StrangerError):
            return False
        self._compare(other, expected=index)
        self.raise_failure()
        return True

    def send_failure_to_callers(self):
        """Send the error to the workers that have called: they may not call again."""
        for index in self._heard_from - {self._cluster.index}:
            with contextlib.suppress(MnistKerasError):
                self.call(index)

    def not_all_started(self, missing, timeout_s):
        """The error that names the workers that are missing.

        Args:
            missing: their indices.
            timeout_s: how long this worker has waited, in seconds.
        """
        addresses = self._cluster.addresses
        names = ", ".join(f"worker {index} ({addresses[index]})" for index in sorted(missing))
        secret = (
            f", and the same {messages.SECRET} on all: a message had another one"
            if self._has_wrong_secret
            else ""
        )
        return MnistKerasError(
            f"not all workers have started within {timeout_s} s. Received: nothing from {names}. "
            f"Expected: all {len(addresses)} started within that time, each at an address "
            f"that the others can reach{secret}."
        )

    def _serve(self):
        while not self._is_closed:
            with contextlib.suppress(OSError):
                connection, _ = self._server.accept()
                self._connections.append(connection)
                if len(self._connections) > _MOST_CONNECTIONS:
                    _shut(self._connections.popleft())
                answer = threading.Thread(target=self._answer, args=(connection,), daemon=True)
                answer.start()

    def _answer(self, connection):
        with (
            contextlib.suppress(OSError, StrangerError),
            connection,
            Channel(connection, "listener") as channel,
        ):
            other = self._receive(channel)
            self._compare(other)
            self._heard_from.add(other["index"])  # First: an answer sent later has the failure.
            channel.send(self._message())
            self._called_by.add(other["index"])
        with contextlib.suppress(ValueError):  # Another thread has removed it.
            self._connections.remove(connection)

    def _receive(self, channel):
        """The other worker's message, with the types and bounds that it must have."""
        try:
            message = {"failure": None, "status": 0, **channel.receive()}
        except WrongSecretError:
            self._has_wrong_secret = True
            raise
        settings, failure = message.get("settings"), message["failure"]
        if not (
            isinstance(settings, dict)
            and settings.keys() >= self._own["settings"].keys()
            and all(map(_is_plain, settings.values()))
            and isinstance(settings["workers"], list)
            and type(message.get("index")) is int
            and message["index"] in range(len(settings["workers"]))
            and (failure is None or isinstance(failure, str))
        ):
            raise StrangerError("another program listens there")
        return message

    def _message(self):
        failure, status = None, 0
        if self.failure is not None:
            failure, status = str(self.failure), self.failure.exit_status
        return {**self._own, "failure": failure, "status": status}

    def _compare(self, other, expected=None):
        """Keep as the failure whatever does not fit in the messages of two workers."""
        index, settings = self._own["index"], self._own["settings"]
        differing = [name for name in settings if settings[name] != other["settings"][name]]
        if differing:
            ours, theirs = (
                ", ".join(f"{name} {_text(values[name])}" for name in differing)
                for values in (settings, other["settings"])
            )
            failure: MnistKerasError = UsageError(
                f"the workers have different settings. Received: {ours} on worker {index}, "
                f"{theirs} on worker {other['index']}. Expected: the same."
            )
        elif other["index"] == index or expected not in (None, other["index"]):
            failure = UsageError(
                f"two workers have the same index or address. Received: worker {other['index']} "
                f"where worker {index if expected is None else expected} is expected. "
                "Expected: a different index for each worker."
            )
        elif other["failure"]:
            is_usage = other["status"] == UsageError.exit_status
            failure = (UsageError if is_usage else MnistKerasError)(other["failure"])
        else:
            return
        self.failure = self.failure or failure


def _called(address, *, timeout_s=messages.TIMEOUT_S):
    connection = socket.create_connection(address, timeout_s)
    try:
        return Channel(connection, "caller", timeout_s=timeout_s)
    except BaseException:
        connection.close()
        raise


def _shut(connection):
    with contextlib.suppress(OSError):  # Its thread may have closed it.
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def _is_plain(value):
    """Whether a value is a text or a list of texts: anything else is a stranger's."""
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _text(value):
    return ",".join(value) if isinstance(value, list) else value
