"""Into how many parts a run cuts each batch."""

from mnist_keras.console import threads

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
    cores = cores or threads.count_cores()
    pays = 2 <= cores <= _MOST_CORES and batch_size >= 2 * _EXAMPLES_PER_PART
    return 2 if pays and network in _CAN_BE_CUT else 1
