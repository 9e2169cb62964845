"""Write a checkpoint of the installed Keras: ``python -m tests.data_files.write_of_keras``.

Run it with each minor version of Keras, which may name a variable differently.
"""

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from tests.test_saving import FILES

FIT = {
    "x": np.arange(24, dtype="float32").reshape(8, 3) / 24,
    "y": np.ones((8, 1), "float32"),
    "batch_size": 4,
    "verbose": 0,
}


class Model(TapeModel):
    """Has an optimizer of each class whose name Keras has changed, and others."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = keras.layers.Dense(2, "relu"), keras.layers.Dense(1)
        self.normalize = keras.layers.BatchNormalization()
        self.others = [
            keras.optimizers.RMSprop(momentum=0.5),
            keras.optimizers.SGD(momentum=0.9),
            keras.optimizers.Adam(),
        ]

    def build(self, shape):
        self.hidden.build(shape)
        self.normalize.build((None, 2))
        self.last.build((None, 2))
        for optimizer in self.others:
            optimizer.build(self.trainable_variables)

    def call(self, inputs, training=None):
        return self.last(self.normalize(self.hidden(inputs), training=training))


def compiled():
    """The built model."""
    keras.utils.set_random_seed(0)
    model = Model()
    model.build((None, 3))
    model.compile(optimizer="adamw", loss="mse", metrics=["mae"])
    return model


if __name__ == "__main__":
    version = ".".join(keras.__version__.split(".")[:2])
    checkpoint = Checkpoint(FILES / f"checkpoint_keras_{version}", keep=1)
    compiled().fit(**FIT, epochs=1, callbacks=[checkpoint])
