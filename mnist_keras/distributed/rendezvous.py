"""How workers find each other before TensorFlow joins them, which would wait an hour in silence.

Each worker listens at its own address, and asks at every other address until it has heard from all
and all have asked it. Both sides of such a call say who they are and what they were told:

    {"index": 1, "told": {"workers": [...], "keras": "3.15.1", ...}, "failure": null, "status": 0}

One line of JSON each, over TCP. Whoever finds something wrong says so to all who ask, then ends.
"""

import contextlib
import json
import socket
import threading
import time

from mnist_keras.errors import MnistKerasError, UsageError

_ASK_EVERY_S = 0.2
_ANSWER_WITHIN_S = 5
_LINGER_S = 2  # Others that ask meanwhile learn what was wrong.
_MOST_BYTES = 2**20


def meet(cluster, *, told, wait_s):
    """Wait until all workers of a cluster are there.

    Args:
        cluster: a `mnist_keras.distributed.cluster.Cluster`.
        told: what has to be the same on all workers besides their addresses, {name: what JSON
            takes}.
        wait_s: how long, in seconds.

    Raises:
        UsageError: the address is not free, or the workers were told different things.
        MnistKerasError: not all have come.
    """
    told = {"workers": list(cluster.addresses), **told}
    with _Listener(cluster, told) as listener:
        deadline_s = time.monotonic() + wait_s
        missing = set(range(len(cluster.addresses))) - {cluster.index}
        try:
            while missing or not listener.was_asked_by_all:
                listener.raise_failure()
                if time.monotonic() > deadline_s:
                    raise _not_all_came(cluster, missing or listener.not_asking, wait_s)
                missing -= {index for index in missing if listener.ask(index)}
                if missing or not listener.was_asked_by_all:
                    time.sleep(_ASK_EVERY_S)
        except BaseException as error:  # A signal ends a worker by an exception too.
            if not isinstance(error, MnistKerasError):
                error = MnistKerasError(f"worker {cluster.index} was ended before all had come.")
            listener.failure = listener.failure or error
            listener.tell_those_who_asked()
            time.sleep(_LINGER_S)
            raise


class _Listener:
    """Answers the other workers in a thread of its own."""

    def __init__(self, cluster, told):
        self.failure = None
        self._cluster = cluster
        self._own = {"index": cluster.index, "told": told}
        self._asked_by = {cluster.index}
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
                "Expected: a free port of this machine, and each worker's number once."
            ) from error
        self._server.settimeout(_ASK_EVERY_S)
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="rendezvous", daemon=True)

    def _introduce_itself_at(self, port):
        """Let another worker that has the same number, on this machine, know of it."""
        with (
            contextlib.suppress(OSError, ValueError),
            socket.create_connection(("localhost", port), _ANSWER_WITHIN_S) as connection,
        ):
            connection.sendall(self._line())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._is_closed = True
        self._thread.join(_ANSWER_WITHIN_S)
        self._server.close()

    @property
    def not_asking(self):
        """The workers that have not asked yet, a set of their numbers."""
        return set(range(len(self._cluster.addresses))) - self._asked_by

    @property
    def was_asked_by_all(self):
        """Whether all others have heard from this one."""
        return not self.not_asking

    def raise_failure(self):
        """Raise what an answer has shown to be wrong."""
        if self.failure is not None:
            raise self.failure

    def ask(self, index):
        """Whether a worker is there."""
        host, _, port = self._cluster.addresses[index].rpartition(":")
        try:
            address = host.strip("[]"), int(port)
            with socket.create_connection(address, _ANSWER_WITHIN_S) as connection:
                connection.sendall(self._line())
                other = _read(connection)
        except (OSError, ValueError):
            return False
        self._compare(other, expected=index)
        self.raise_failure()
        return True

    def tell_those_who_asked(self):
        """Say to them what was wrong: they may not ask again."""
        for index in self._asked_by - {self._cluster.index}:
            with contextlib.suppress(MnistKerasError):
                self.ask(index)

    def _serve(self):
        while not self._is_closed:
            with contextlib.suppress(OSError, ValueError):
                connection, _ = self._server.accept()
                with connection:
                    connection.settimeout(_ANSWER_WITHIN_S)
                    other = _read(connection)
                    self._compare(other)
                    connection.sendall(self._line())
                    self._asked_by.add(other["index"])

    def _line(self):
        failure, status = None, 0
        if self.failure is not None:
            failure, status = str(self.failure), self.failure.exit_status
        said = {**self._own, "failure": failure, "status": status}
        return json.dumps(said).encode() + b"\n"

    def _compare(self, other, expected=None):
        """Keep as the failure what does not fit together in what two workers say."""
        index, told = self._own["index"], self._own["told"]
        differing = [name for name in told if told[name] != other["told"].get(name)]
        if differing:
            ours, theirs = (
                ", ".join(f"{name} {_text(said.get(name))}" for name in differing)
                for said in (told, other["told"])
            )
            failure: MnistKerasError = UsageError(
                f"the workers were told different things. Received: {ours} by worker {index}, "
                f"{theirs} by worker {other['index']}. Expected: the same."
            )
        elif other["index"] == index or expected not in (None, other["index"]):
            failure = UsageError(
                f"two workers have one number or one address. Received: worker {other['index']} "
                f"where worker {index if expected is None else expected} is expected. "
                "Expected: each number once."
            )
        elif other["failure"]:
            is_usage = other["status"] == UsageError.exit_status
            failure = (UsageError if is_usage else MnistKerasError)(other["failure"])
        else:
            return
        self.failure = self.failure or failure


def _not_all_came(cluster, missing, wait_s):
    names = ", ".join(f"worker {index} ({cluster.addresses[index]})" for index in sorted(missing))
    return MnistKerasError(
        f"not all workers have come within {wait_s} s. Received: nothing from {names}. "
        f"Expected: all {len(cluster.addresses)}, started within that time, each at an address "
        "that the others reach."
    )


def _read(connection):
    with connection.makefile("rb") as lines:
        said = json.loads(lines.readline(_MOST_BYTES))
    if not (isinstance(said, dict) and isinstance(said.get("told"), dict)):
        raise ValueError("something else listens there")
    return {"failure": None, "status": 0, **said, "index": int(said.get("index", -1))}


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
