"""The package's own stream."""

import numpy as np

from mnist_keras.data import batches
from tests.pipelines.pipeline import has_classes, pipeline


def are_digits(arrays):
    """Whether the stream accepts the arrays."""
    images = arrays[0]
    return (
        has_classes(arrays)
        and isinstance(images, np.ndarray)
        and images.dtype == np.uint8
        and images.shape[1:] == (28, 28)
        and arrays[1].max() < 10
    )


@pipeline("batches, in order", fits=are_digits)
def in_order(arrays, batch_size, seed):
    return {"x": batches(*arrays, batch_size=batch_size)}


@pipeline("batches, shuffled", fits=are_digits)
def shuffled(arrays, batch_size, seed):
    return {"x": batches(*arrays, batch_size=batch_size, shuffle=True, seed=seed)}
