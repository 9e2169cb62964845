"""The threads that TensorFlow computes with."""

import contextlib
import os


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
