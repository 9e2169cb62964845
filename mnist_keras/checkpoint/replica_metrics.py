"""Saves and restores the metric values of each replica bit for bit.

Each replica adds up its own metric values; reading a metric sums them over the replicas. Adding to
that total rounds differently than adding to each replica's value, so each value is saved. For
some variables ``aggregation`` asks for the mean or the first replica's value instead of the sum.
"""

import numpy as np
import tensorflow as tf

from mnist_keras.checkpoint import backends
from mnist_keras.distributed.replicas import replica_id
from mnist_keras.distributed.workers import workers_of


def read(model):
    """{index in ``metrics_variables``: array (replicas, ...)}; {} for one replica.

    A collective call: all workers must call it at the same step.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return {}
    summed = {i: v for i, v in enumerate(model.metrics_variables) if _is_apart(v)}
    own = {
        i: np.stack([part.numpy() for part in strategy.experimental_local_results(v.value)])
        for i, v in summed.items()
    }
    each = workers_of(model).all_gather(b"".join(rows.tobytes() for rows in own.values()))
    found, at = {}, 0
    for i, rows in own.items():
        parts = [np.frombuffer(data[at : at + rows.nbytes], rows.dtype) for data in each]
        found[i] = np.concatenate([part.reshape(rows.shape) for part in parts])
        at += rows.nbytes
    return found


def total(variable, rows):
    """A metric variable's value, aggregated from the replicas' values (replicas, ...)."""
    if variable.aggregation == "sum":
        return rows.sum(axis=0)
    return rows.mean(axis=0) if variable.aggregation == "mean" else rows[0]


def assign(variable, *, total, rows=None):
    """Set a metric variable; call it on every worker, in the scope of the model's strategy.

    Args:
        variable: the variable.
        total: its value, as `total` returns it.
        rows: the value of each replica, (replicas, ...). If it is None or the number of replicas
            differs, the first replica gets the total of a sum and the others get 0, because
            TensorFlow's equal parts may not add up to the same total.
    """
    strategy = tf.distribute.get_strategy()
    count = strategy.num_replicas_in_sync
    if not backends.is_tensorflow():
        variable.assign(total)
        return
    if count == 1 or not _is_apart(variable):
        variable.assign(tf.cast(total, variable.dtype))
        return
    if rows is None or len(rows) != count:
        others = np.zeros_like(total) if variable.aggregation == "sum" else total
        rows = np.stack([total, *[others] * (count - 1)])
    strategy.run(lambda: variable.assign(tf.cast(rows[replica_id()], variable.dtype)))


def _is_apart(variable):
    return getattr(variable, "synchronization", None) == "on_read"
