"""The workers of a training: the processes, one on each machine, that train one model together.

They run the same program side by side and meet in collective operations, which each of them has to
reach as often as the others, in the same order. What only one of them knows (a signal, its clock,
what lies on its disk) is therefore settled here before anybody acts on it.
"""

import contextlib
import json
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_keras.errors import MnistKerasError, UsageError

_WORKERS: weakref.WeakKeyDictionary[keras.Model, "Workers"] = weakref.WeakKeyDictionary()


def workers_of(model):
    """The `Workers` that train a model; itself alone where it is under no strategy."""
    strategy = getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()
    if strategy not in _WORKERS:
        _WORKERS[strategy] = Workers(strategy)
    return _WORKERS[strategy]


class Workers:
    """The workers of a strategy, seen from one of them.

    With a strategy of one worker nothing below computes or waits.

    Args:
        strategy: a ``tf.distribute.Strategy``.

    Attributes:
        count: how many there are.
        index: this one's number, from 0.

    Example:

    >>> alone = Workers(tf.distribute.get_strategy())
    >>> alone.is_chief, alone.largest([3, -1]), alone.from_chief(b"state")
    (True, [3, -1], b'state')
    """

    def __init__(self, strategy):
        self.count, self.index = 1, 0
        cluster = _cluster(strategy)
        if cluster is not None:
            addresses, task_type, task_id = cluster
            self.count = sum(len(addresses.get(job, ())) for job in ("chief", "worker"))
            before = len(addresses.get("chief", ())) if task_type == "worker" else 0
            self.index = before + task_id
        self._strategy: Callable[[], Any] = weakref.ref(strategy)
        self._sum = tf.function(self._sum_over_workers, reduce_retracing=True, autograph=False)

    @property
    def are_several(self):
        """Whether there is another one."""
        return self.count > 1

    @property
    def is_chief(self):
        """Whether this is the one that prints and writes."""
        return self.index == 0

    def largest(self, numbers):
        """Of each number the largest that any worker gives; all have to ask at the same place.

        Args:
            numbers: whole numbers of 32 bits, as many on each worker.
        """
        if not self.are_several:
            return list(numbers)
        rows = np.zeros((self.count, len(numbers)), np.int32)
        rows[self.index] = numbers
        return self._sum(tf.constant(rows)).numpy().max(axis=0).tolist()

    def from_chief(self, data):
        """What the chief gives; all have to ask at the same place.

        Args:
            data: bytes, or None; looked at on the chief alone.
        """
        if not self.are_several:
            return data
        length = -1 if data is None or not self.is_chief else len(data)
        length = self.largest([length])[0]
        if length < 0:
            return None
        words = np.zeros(-(-length // 4), np.int32)
        if self.is_chief:
            words.view(np.uint8)[:length] = np.frombuffer(data, np.uint8)
        # The others give zeros, which leave the chief's bits as they are.
        return self._sum(tf.constant(words)).numpy().tobytes()[:length]

    def from_each(self, data):
        """What each worker gives, a list in their order; all have to ask at the same place.

        Args:
            data: bytes, as many on each worker.
        """
        if not self.are_several:
            return [data]
        words = np.zeros((self.count, -(-len(data) // 4)), np.int32)
        words[self.index].view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        rows = self._sum(tf.constant(words)).numpy()
        return [row.tobytes()[: len(data)] for row in rows]

    def on_chief(self, function):
        """What a function gives on the chief, where alone it is called; all have to ask.

        Args:
            function: gives what JSON takes.

        Raises:
            MnistKerasError: what it raises of that kind, on every worker.
        """
        outcome = failure = None
        if self.is_chief:
            try:
                outcome = {"result": function()}
            except MnistKerasError as error:
                failure = error
                outcome = {"error": str(error), "status": error.exit_status}
        outcome = json.loads(self.from_chief(json.dumps(outcome).encode()))
        if "error" in outcome:
            is_usage = outcome["status"] == UsageError.exit_status
            heard = (UsageError if is_usage else MnistKerasError)(outcome["error"])
            self._raise_together(failure or heard)
        return outcome["result"]

    def require_same(self, what, values):
        """Refuse to go on unless all workers give the same.

        Args:
            what: what is compared, for the error's message.
            values: this worker's, {name: what JSON takes}.

        Raises:
            UsageError: on every worker.
        """
        own = json.loads(json.dumps(values))
        chiefs = self.on_chief(lambda: own)
        differing = [name for name in {**own, **chiefs} if own.get(name) != chiefs.get(name)]
        # Those that are like the chief learn which one is not.
        other = self.largest([self.index if differing else 0])[0]
        if not other:
            return
        received = f"others on worker {other}"
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
        """Raise what all workers raise; none of them ends before each one has heard of it."""
        with contextlib.suppress(tf.errors.OpError):
            self.largest([0])
        error.is_known_to_all = True
        raise error

    def _sum_over_workers(self, values):
        return self._strategy().reduce("SUM", values, axis=None)


def _cluster(strategy):
    """(addresses by job, this task's job, its number in the job) of several machines, or None."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None:
        return None
    addresses = resolver.cluster_spec().as_dict()
    return (addresses, resolver.task_type, resolver.task_id) if addresses else None
