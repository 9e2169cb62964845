"""Arrays that Keras cuts into batches by a tf.data pipeline are cut by the graph instead."""

import tensorflow as tf

from mnist_keras._keras import EpochIterator, global_seed
from mnist_keras.data.array_batches import ArrayBatches


def cut_arrays(epochs: EpochIterator) -> bool:
    """Replace Keras's pipeline over arrays by `ArrayBatches`, with the same batches.

    Sparse and ragged arrays, shuffled batches and data that a strategy distributes keep Keras's
    pipeline. So do arrays that a GPU trains on: the pipeline copies the next batches to it while a
    step runs.

    Args:
        epochs: Keras's iterator over the epochs, which has not begun.

    Returns:
        Whether the arrays are cut. Without a global seed, the order of a shuffled pass must then
        be set by `ArrayPass.set_order`.
    """
    if not isinstance(epochs.dataset, tf.data.Dataset) or tf.config.list_logical_devices("GPU"):
        return isinstance(epochs.dataset, ArrayBatches)
    arrays = epochs.arrays
    if arrays is None or not epochs.examples:
        return False
    batches = ArrayBatches(arrays, batch_size=epochs.adapter.batch_size)
    if batches.element_spec != epochs.dataset.element_spec:
        return False
    if epochs.shuffles_arrays and global_seed() is not None:
        order = epochs.array_order()
        batches.order = lambda: order
    epochs.dataset = batches
    return True
