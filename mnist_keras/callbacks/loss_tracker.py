"""A model's own mean of the loss over the epoch, and the number of examples in that mean."""

import keras


def examples_in_epoch(model):
    """How many examples a model was trained on in this epoch, a float; None if it does not count.

    With several workers it is the last known count: a new count needs a read by all workers.
    """
    counted = getattr(model, "examples_in_epoch", None)
    if counted is None:
        tracker = loss_tracker(model)
        counted = None if tracker is None else tracker.count
    return None if counted is None else float(keras.ops.convert_to_numpy(counted))


def loss_tracker(model):
    """The model's own mean of the loss over the epoch, or None."""
    for metric in model.metrics:
        if metric.name == "loss" and hasattr(metric, "total") and hasattr(metric, "count"):
            return metric
    return None
