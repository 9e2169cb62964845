"""A model's outputs for some examples, beside its training and without a trace in it."""

import contextlib

import numpy as np

from mnist_keras import _keras


def as_input(x):
    """Examples as a network takes them: uint8 scaled to float32 in [0, 1], others as they are."""
    return x / np.float32(255) if x.dtype == np.uint8 else x


def call(model, x):
    """The outputs for x as in a validation: without dropout."""
    return model(x, training=False) if _keras.takes_training_argument(model) else model(x)


def network_of(model):
    """What a `TapeModel` wraps; any other model itself."""
    return getattr(model, "wrapped_network", None) or model


@contextlib.contextmanager
def validated_weights(model):
    """Meanwhile a model has the weights that it is validated with and saved with at last.

    Those are the averages, where its optimizer keeps averages of the weights.
    """
    from mnist_keras.callbacks.averaged_weights import AveragedWeights, has_averages

    if not has_averages(getattr(model, "optimizer", None)):
        yield
        return
    averages = AveragedWeights()
    averages.set_model(model)
    averages.on_test_begin()
    try:
        yield
    finally:
        averages.close()
