"""``TapeModel(inputs, outputs)`` is a functional model, as ``keras.Model(inputs, outputs)`` is."""

import functools

import keras

from mnist_keras._keras import Functional


def are_functional(args, kwargs):
    """Whether arguments are (inputs, outputs), by position or by name; the rule is Keras's."""
    return len(args) == 2 or "outputs" in kwargs


@functools.cache
def functional_twin(cls):
    """A subclass of ``cls`` and of Keras's functional model, saved under the name of ``cls``.

    A class that is one already is returned as it is: a clone of a model is made by its twin.
    """
    if issubclass(cls, Functional):
        return cls
    twin = type(
        cls.__name__,
        (cls, Functional),
        {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__},
    )
    name = keras.saving.get_registered_name(cls)
    if ">" in name:
        keras.saving.register_keras_serializable(*name.split(">"))(twin)
        keras.saving.get_custom_objects()[name] = cls
    return twin
