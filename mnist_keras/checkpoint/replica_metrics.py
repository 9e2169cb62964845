"""What metrics sum on each replica apart, saved and restored to the bit.

Their sum over the replicas is taken when a metric is read. Sums that go on from that sum are
rounded otherwise than those that go on from each replica's own. Of some variables it is the mean
or the first replica's value that is taken instead, as their ``aggregation`` says.
"""

import numpy as np
import tensorflow as tf

from mnist_keras.distributed.replicas import replica_id
from mnist_keras.distributed.workers import workers_of


def read(model):
    """{index in ``metrics_variables``: array (replicas, ...)}; of one replica {}.

    All workers have to ask at the same place.
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
    """The value of a variable of a metric, of what each replica has, (replicas, ...)."""
    if variable.aggregation == "sum":
        return rows.sum(axis=0)
    return rows.mean(axis=0) if variable.aggregation == "mean" else rows[0]


def assign(variable, *, total, rows=None):
    """Set a variable of a metric; under the model's strategy, on every worker.

    Args:
        variable: the variable.
        total: its value, as `total` gives it.
        rows: that of each replica, (replicas, ...). Where there are others, or None, the first one
            gets all of a sum: TensorFlow's equal parts need not come to the same sum.
    """
    strategy = tf.distribute.get_strategy()
    count = strategy.num_replicas_in_sync
    if count == 1 or not _is_apart(variable):
        variable.assign(tf.cast(total, variable.dtype))
        return
    if rows is None or len(rows) != count:
        others = np.zeros_like(total) if variable.aggregation == "sum" else total
        rows = np.stack([total, *[others] * (count - 1)])
    strategy.run(lambda: variable.assign(tf.cast(rows[replica_id()], variable.dtype)))


def _is_apart(variable):
    return getattr(variable, "synchronization", None) == "on_read"
