"""Loads the weights of a checkpoint, to predict or to start another training."""

import keras

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks.checkpoint import Checkpoint


def load_weights(model: keras.Model, directory: StrPath, *, step: int | None = None) -> int:
    """Load the weights of a checkpoint: another name of ``Checkpoint(directory).load(model)``.

    `mnist_keras.callbacks.Checkpoint.load` describes the other arguments, the result and the
    errors.

    Args:
        model: a built model, compiled or not.
        directory: the directory of the checkpoints.
        step: updates done; None: the newest undamaged checkpoint.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from mnist_keras import TapeModel
    >>> from mnist_keras.callbacks import Checkpoint
    >>> network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model = TapeModel(network)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> directory = tempfile.mkdtemp()
    >>> x, y = np.ones((8, 3)), np.ones((8, 1))
    >>> _ = model.fit(x, y, batch_size=2, verbose=0, callbacks=[Checkpoint(directory)])
    >>> another = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    >>> load_weights(another, directory)
    4
    >>> np.array_equal(another.predict(x, verbose=0), model.predict(x, verbose=0))
    True
    """
    return Checkpoint(directory).load(model, step=step)
