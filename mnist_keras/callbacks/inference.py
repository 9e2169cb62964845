"""A model's outputs for some examples, beside its training and without a trace in it."""

import contextlib

import keras

from mnist_keras import _keras


def call(model, x):
    """The outputs for x as in a validation: without dropout."""
    return model(x, training=False) if _keras.takes_training_argument(model) else model(x)


def network_of(model):
    """What a `TapeModel` wraps; any other model itself."""
    return getattr(model, "wrapped_network", None) or model


def last_activation(model):
    """The name of the activation of a model's last layer; None: it is unknown.

    >>> last_activation(keras.Sequential([keras.layers.Dense(3), keras.layers.Softmax()]))
    'softmax'
    """
    layer = network_of(model)
    while isinstance(layer, (keras.Sequential, _keras.Functional)) and layer.layers:
        layer = layer.layers[-1]
    if isinstance(layer, keras.Model):  # Only its call knows which layer is the last.
        return None
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", type(layer).__name__.lower())


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
