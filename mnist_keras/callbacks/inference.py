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
        raise _not_callable(model) from error


def require_call(model):
    """Refuse a model without ``call``; nothing is called.

    Raises:
        UsageError: the model has no ``call``, as a GAN that only has a ``train_step``.
    """
    network = network_of(model)
    owner = next(kind for kind in type(network).__mro__ if "call" in vars(kind))
    # The one of `TapeModel` calls the network that it wraps, or else Keras's ``call``.
    is_inherited = owner is keras.Model or "wrapped_network" in vars(owner)
    if is_inherited and not isinstance(network, _keras.Functional):
        raise _not_callable(network)


def _not_callable(model):
    return UsageError(
        f"the model cannot be called. Received: {type(model).__name__} without a call method. "
        "Expected: a model that evaluate can call."
    )


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


def model_inputs(model):
    """The inputs of a built model as ``keras.KerasTensor``, one or a nested structure; or None.

    None means that they are unknown. Keras does not record the dtype of a subclassed model's
    inputs: it is float32 here.

    >>> model = keras.Sequential([keras.Input((28, 28), dtype="uint8"), keras.layers.Flatten()])
    >>> model_inputs(model).shape, model_inputs(model).dtype
    ((None, 28, 28), 'uint8')
    """
    network = network_of(model)
    if isinstance(network, _keras.Functional):
        return network.input
    if isinstance(network, keras.Sequential) and getattr(network, "inputs", None):
        return network.inputs[0]
    return _tensors((model.get_build_config() or {}).get("input_shape"))


def _tensors(shapes):
    """The inputs of these shapes, in their structure; a shape may be a list itself."""
    if shapes is None:
        return None
    if isinstance(shapes, dict):
        return {name: _tensors(shape) for name, shape in shapes.items()}
    if any(isinstance(part, (dict, list, tuple)) for part in shapes):
        return [_tensors(shape) for shape in shapes]
    return keras.KerasTensor(shapes)


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
