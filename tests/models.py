"""The same layers as models of each of Keras's kinds."""

import keras


def functional(layers, *, shape):
    """A functional model of layers in a row; ``shape`` is without the batch."""
    inputs = outputs = keras.Input(shape)
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


class Subclassed(keras.Model):
    """A subclassed model of layers in a row."""

    def __init__(self, layers):
        super().__init__()
        self.stack = layers

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x
