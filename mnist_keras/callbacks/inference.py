"""Computes a model's outputs for some examples without changing its training."""

import contextlib

import keras

from mnist_keras import _keras
from mnist_keras.errors import UsageError


def call(model, x):
    """The outputs for x in inference mode, without dropout.

    Raises:
        UsageError: the model has no ``call``, as a GAN that only has a ``train_step``.
    """
    try:
        return model(x, training=False) if _keras.takes_training_argument(model) else model(x)
    except NotImplementedError as error:
        raise UsageError(
            f"the model cannot be called. Received: {type(model).__name__} without a call method. "
            "Expected: a model that evaluate can call."
        ) from error


def network_of(model):
    """The network that a `TapeModel` wraps; any other model is returned as it is."""
    return getattr(model, "wrapped_network", None) or model


def last_activation(model):
    """The name of the activation of a model's last layer; None if it is unknown.

    >>> last_activation(keras.Sequential([keras.layers.Dense(3), keras.layers.Softmax()]))
    'softmax'
    """
    layer = network_of(model)
    while isinstance(layer, (keras.Sequential, _keras.Functional)) and layer.layers:
        layer = layer.layers[-1]
    if isinstance(layer, keras.Model):  # Only its call method knows the last layer.
        return None
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", type(layer).__name__.lower())


def input_shapes(model):
    """The shapes of a built model's inputs, without the batch; None if they are unknown.

    >>> input_shapes(keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten()]))
    [(28, 28)]
    """
    network = network_of(model)
    inputs = getattr(network, "inputs", None)  # Only sequential and functional models have them.
    if inputs:
        return [tuple(tensor.shape)[1:] for tensor in inputs]
    shapes = [*_shapes((model.get_build_config() or {}).get("input_shape"))]
    return [shape[1:] for shape in shapes] or None


def _shapes(nested):
    """The shapes in a structure of dicts and lists; a shape may be a list itself."""
    if isinstance(nested, dict):
        nested = list(nested.values())
    if nested and all(isinstance(size, (int, type(None))) for size in nested):
        yield tuple(nested)
        return
    for part in nested or ():
        yield from _shapes(part)


@contextlib.contextmanager
def validated_weights(model):
    """A context in which a model has its weights for validation and for the final save.

    These are the averages if the optimizer keeps averages of the weights.
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
