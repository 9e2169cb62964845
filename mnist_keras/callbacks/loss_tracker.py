"""How many examples a model was trained on in this epoch, as far as it counts them."""

import keras

from mnist_keras import _keras
from mnist_keras.checkpoint import backends


def examples_in_epoch(callback, *, batches):
    """How many examples were trained on in this epoch, a float; None if that is not counted.

    With several workers it is the last known count: a new count needs a read by all workers.

    Args:
        callback: a `mnist_keras.callbacks.base.StepCallback`.
        batches: the number of batches trained on in this epoch.
    """
    model, stream = callback.model, callback.stream
    backends.synchronize(model)
    if stream is not None:
        return float(min(batches * stream.batch_size, stream.examples))
    counted = getattr(model, "examples_in_epoch", None)
    # A step of one's own may update the tracker once per batch, so that it counts batches.
    if counted is None and getattr(type(model), "train_step", None) is keras.Model.train_step:
        counted = getattr(_keras.loss_tracker(model), "count", None)
    return None if counted is None else float(keras.ops.convert_to_numpy(counted))


def loss_tracker(model):
    """The model's own mean of the loss over the epoch, or None."""
    for metric in model.metrics:
        if metric.name == "loss" and hasattr(metric, "total") and hasattr(metric, "count"):
            return metric
    return None
