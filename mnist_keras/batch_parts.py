"""Into how many parts a batch is cut, and the threads that compute them."""

import contextlib
import os

# Measured: a core has to have this many examples for the cut to pay.
_EXAMPLES_PER_PART = 50
# On more cores TensorFlow's own threads inside each product do as well, as far as is known.
_MOST_CORES = 3
_CAN_BE_CUT = ("mlp", "cnn", "cnn_fast")


def choose(*, network, batch_size, cores=None):
    """As many parts as pay on this machine: 2 on two or three cores, else 1.

    Args:
        network: its name; one with batch normalization needs the whole batch.
        batch_size: examples in a batch.
        cores: the processor's cores that this process may use; None: counted.

    Example:

    >>> choose(network="mlp", batch_size=200, cores=2)
    2
    """
    cores = cores or count_cores()
    pays = 2 <= cores <= _MOST_CORES and batch_size >= 2 * _EXAMPLES_PER_PART
    return 2 if pays and network in _CAN_BE_CUT else 1


def count_cores():
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(parts):
    """Give each part a thread of its own.

    1 part leaves TensorFlow's own choice; so does a program whose TensorFlow has begun to work, as
    it makes its threads then.
    """
    if parts == 1:
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(max(1, count_cores() // parts))
