"""The number of parts into which a run cuts each batch."""

from mnist_keras.console import threads

# Measured: with fewer examples per core the cut costs more time than it saves.
_EXAMPLES_PER_PART = 50
# On more cores TensorFlow's threads within each product are as fast, as far as measured.
_MOST_CORES = 3
_CAN_BE_CUT = ("mlp", "cnn", "cnn_fast")


def choose(*, network, batch_size, cores=None):
    """The fastest number of parts on this machine: 2 on two or three cores, otherwise 1.

    Args:
        network: its name; batch normalization needs the batch in one part.
        batch_size: examples in a batch.
        cores: processor cores that this process may use; None: count them.

    Example:

    >>> choose(network="mlp", batch_size=200, cores=2)
    2
    """
    cores = cores or threads.count_cores()
    pays = 2 <= cores <= _MOST_CORES and batch_size >= 2 * _EXAMPLES_PER_PART
    return 2 if pays and network in _CAN_BE_CUT else 1
