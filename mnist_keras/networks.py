"""The networks: float32 images (n, 28, 28) in [0, 1] in, float32 scores (n, 10) out."""

import keras
from keras import layers

from mnist_keras.errors import UsageError


def mlp(*, dtype=None):
    """The tutorial's network: dense layers of 512, 256 and 10 units, relu between them.

    Built after ``keras.utils.set_random_seed(seed)`` it has the same initial weights as the
    tutorial's own three layers built after it.

    Args:
        dtype: a dtype policy's name, as "mixed_bfloat16"; None for Keras's global one.

    >>> mlp().count_params()
    535818
    """
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Flatten(name="flatten", dtype=dtype),
            layers.Dense(512, activation="relu", name="dense_512", dtype=dtype),
            layers.Dense(256, activation="relu", name="dense_256", dtype=dtype),
            layers.Dense(10, name="scores", dtype="float32"),
        ],
        name="mlp",
    )


def cnn(*, dtype=None):
    """Two convolutions and two dense layers, about 0.2 million weights.

    Args:
        dtype: as for `mlp`.

    >>> cnn().output_shape
    (None, 10)
    """
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Reshape((28, 28, 1), name="channel", dtype=dtype),
            layers.Conv2D(24, 5, activation="relu", name="conv_5x5", dtype=dtype),
            layers.MaxPooling2D(name="pool_1", dtype=dtype),
            layers.Conv2D(32, 3, activation="relu", name="conv_3x3", dtype=dtype),
            layers.MaxPooling2D(name="pool_2", dtype=dtype),
            layers.Flatten(name="flatten", dtype=dtype),
            layers.Dropout(0.25, name="dropout", dtype=dtype),
            layers.Dense(256, activation="relu", name="dense_256", dtype=dtype),
            layers.Dense(10, name="scores", dtype="float32"),
        ],
        name="cnn",
    )


NETWORKS = {"mlp": mlp, "cnn": cnn}


def build(name, *, dtype_policy="float32"):
    """The network of that name, built, under a dtype policy.

    Raises:
        UsageError: no network has that name.
    """
    if name not in NETWORKS:
        raise UsageError(
            f"unknown network. Received: {name}. Expected: one of {', '.join(NETWORKS)}."
        )
    return NETWORKS[name](dtype=dtype_policy)
