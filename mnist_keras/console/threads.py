"""The number of threads that TensorFlow uses."""

import contextlib
import os


def count_cores():
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(parts):
    """Set TensorFlow's threads so that the parts of a batch run in parallel.

    With 1 part TensorFlow's defaults stay. They also stay if TensorFlow is already initialized,
    because it creates its threads then.
    """
    if parts == 1:
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(max(1, count_cores() // parts))
