"""The workers of a training: one process on each machine, which train one model together.

All workers run the same program and meet in collective operations. Every worker has to call each
of them equally often and in the same order. So whatever one worker alone knows (a signal, its
clock, the files on its disk) is exchanged here before any worker acts on it.
"""

import contextlib
import json
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.distributed.lost_worker import as_lost
from mnist_keras.errors import MnistKerasError, UsageError

_WORKERS: weakref.WeakKeyDictionary[keras.Model, "Workers"] = weakref.WeakKeyDictionary()


def workers_of(model):
    """The `Workers` that train a model; a single worker for a model without a strategy."""
    strategy = getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()
    if strategy not in _WORKERS:
        _WORKERS[strategy] = Workers(strategy)
    return _WORKERS[strategy]


class Workers:
    """The workers of a strategy, as one of them sees them.

    With one worker, no method computes or waits.

    Args:
        strategy: a ``tf.distribute.Strategy``.

    Attributes:
        count: the number of workers.
        index: this worker's index, from 0.

    Example:

    >>> workers = Workers(tf.distribute.get_strategy())
    >>> workers.is_chief, workers.all_reduce_max([3, -1]), workers.broadcast(b"state")
    (True, [3, -1], b'state')
    """

    def __init__(self, strategy):
        self.count, self.index = 1, 0
        self._addresses: tuple[str, ...] = ()
        self._chiefs = 0
        cluster = _cluster(strategy)
        if cluster is not None:
            addresses, task_type, task_id = cluster
            self._addresses = (*addresses.get("chief", ()), *addresses.get("worker", ()))
            self.count = len(self._addresses)
            self._chiefs = len(addresses.get("chief", ()))
            self.index = task_id + (self._chiefs if task_type == "worker" else 0)
        self._strategy: Callable[[], Any] = weakref.ref(strategy)
        self._sum = tf.function(self._sum_over_workers, reduce_retracing=True, autograph=False)

    @property
    def are_several(self):
        """Whether there is more than one worker."""
        return self.count > 1

    @property
    def is_chief(self):
        """Whether this is worker 0, which prints and writes."""
        return self.index == 0

    def naming_lost_ones(self):
        """A context in which the loss of another worker is a `WorkerLostError` that names it."""
        if not self.are_several:
            return contextlib.nullcontext()
        return as_lost(self._addresses, chiefs=self._chiefs, only_named=True)

    def all_reduce_max(self, values):
        """Element-wise maximum over workers; a collective call.

        Args:
            values: integers that fit into 32 bits, equally many on each worker.
        """
        if not self.are_several:
            return list(values)
        rows = np.zeros((self.count, len(values)), np.int32)
        rows[self.index] = values
        return self._sum(tf.constant(rows)).numpy().max(axis=0).tolist()

    def any(self, value):
        """Whether a bool is true on any worker; a collective call."""
        return bool(self.all_reduce_max([int(value)])[0])

    def broadcast(self, data):
        """The chief's data on every worker; a collective call.

        Args:
            data: bytes or None; ignored on workers other than the chief.
        """
        if not self.are_several:
            return data
        length = -1 if data is None or not self.is_chief else len(data)
        length = self.all_reduce_max([length])[0]
        if length < 0:
            return None
        words = np.zeros(-(-length // 4), np.int32)
        if self.is_chief:
            words.view(np.uint8)[:length] = np.frombuffer(data, np.uint8)
        # The others add zeros, which leave the chief's bits as they are.
        return self._sum(tf.constant(words)).numpy().tobytes()[:length]

    def all_gather(self, data):
        """The data of all workers, a list in the order of their indices; a collective call.

        Args:
            data: bytes, of any length on each worker.
        """
        if not self.are_several:
            return [data]
        lengths = [0] * self.count
        lengths[self.index] = len(data)
        lengths = self.all_reduce_max(lengths)
        words = np.zeros((self.count, -(-max(lengths) // 4)), np.int32)
        words[self.index].view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        rows = self._sum(tf.constant(words)).numpy()
        return [row.tobytes()[:length] for row, length in zip(rows, lengths, strict=True)]

    def on_chief(self, function):
        """Call a function on the chief and return its result on every worker; a collective call.

        Args:
            function: takes nothing and returns a value that JSON can represent.

        Raises:
            MnistKerasError: on every worker, where the function raises one.
        """
        outcome = failure = None
        if self.is_chief:
            try:
                outcome = {"result": function()}
            except MnistKerasError as error:
                failure = error
                outcome = {"error": str(error), "status": error.exit_status}
        outcome = json.loads(self.broadcast(json.dumps(outcome).encode()))
        if "error" in outcome:
            is_usage = outcome["status"] == UsageError.exit_status
            received = (UsageError if is_usage else MnistKerasError)(outcome["error"])
            self._raise_together(failure or received)
        return outcome["result"]

    def require_same(self, what, values):
        """Raise an error unless all workers pass the same values; a collective call.

        Args:
            what: what the values are, for the error's message.
            values: this worker's values, {name: value that JSON can represent}.

        Raises:
            UsageError: on every worker.
        """
        own = json.loads(json.dumps(values))
        chiefs = self.on_chief(lambda: own)
        differing = [name for name in {**own, **chiefs} if own.get(name) != chiefs.get(name)]
        # A worker that agrees with the chief learns which one does not.
        other = self.all_reduce_max([self.index if differing else 0])[0]
        if not other:
            return
        received = f"other values on worker {other}"
        if differing:
            received = ", ".join(f"{name} {own.get(name)}" for name in differing)
        expected = ", ".join(f"{name} {chiefs.get(name)}" for name in differing) or "the same"
        self._raise_together(
            UsageError(
                f"the workers differ in their {what}. Received: {received}. "
                f"Expected: {expected}, as on worker 0."
            )
        )

    def _raise_together(self, error):
        """Raise an error that every worker raises, once all of them have received it."""
        with contextlib.suppress(tf.errors.OpError):
            self.all_reduce_max([0])
        error.is_known_to_all = True
        raise error

    def _sum_over_workers(self, values):
        return self._strategy().reduce("SUM", values, axis=None)


def _cluster(strategy):
    """(addresses by job, this task's job, its index in the job) of several machines, or None."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None:
        return None
    addresses = resolver.cluster_spec().as_dict()
    return (addresses, resolver.task_type, resolver.task_id) if addresses else None
