"""The networks: float32 images (n, 28, 28) in [0, 1] in, float32 scores (n, 10) out."""

import keras
from keras import layers

from mnist_keras.errors import UsageError


def mlp(*, dtype: str | None = None) -> keras.Sequential:
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


def cnn(*, dtype: str | None = None) -> keras.Sequential:
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


def cnn_fast(*, dtype: str | None = None) -> keras.Sequential:
    """`cnn` with half the channels and no dropout, for a good network in one epoch.

    Args:
        dtype: as for `mlp`.

    >>> cnn_fast().count_params()
    108874
    """
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Reshape((28, 28, 1), name="channel", dtype=dtype),
            layers.Conv2D(16, 5, activation="relu", name="conv_5x5", dtype=dtype),
            layers.MaxPooling2D(name="pool_1", dtype=dtype),
            layers.Conv2D(32, 3, activation="relu", name="conv_3x3", dtype=dtype),
            layers.MaxPooling2D(name="pool_2", dtype=dtype),
            layers.Flatten(name="flatten", dtype=dtype),
            layers.Dense(128, activation="relu", name="dense_128", dtype=dtype),
            layers.Dense(10, name="scores", dtype="float32"),
        ],
        name="cnn_fast",
    )


def deep_cnn(*, dtype: str | None = None) -> keras.Sequential:
    """Four convolutions with batch normalization, about 0.3 million weights, for accuracy.

    No image is padded, so that the later layers see ever fewer places: digits have wide margins.

    Args:
        dtype: as for `mlp`.

    >>> deep_cnn().output_shape
    (None, 10)
    """
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Reshape((28, 28, 1), name="channel", dtype=dtype),
            *_convolution(48, 5, name="conv_1", pools=True, dtype=dtype),
            *_convolution(96, 3, name="conv_2", dtype=dtype),
            *_convolution(96, 3, name="conv_3", pools=True, dtype=dtype),
            *_convolution(192, 3, name="conv_4", dtype=dtype),
            layers.Flatten(name="flatten", dtype=dtype),
            layers.Dropout(0.4, name="dropout", dtype=dtype),
            layers.Dense(10, name="scores", dtype="float32"),
        ],
        name="deep_cnn",
    )


def _convolution(filters, size, *, name, pools=False, dtype=None):
    """A convolution, a maximum over 2x2 where it pools, a batch normalization and relu."""
    # Pooled first, a fourth of the places is left to normalize.
    pool = [layers.MaxPooling2D(name=f"{name}_pool", dtype=dtype)] if pools else []
    return [
        layers.Conv2D(filters, size, use_bias=False, name=name, dtype=dtype),
        *pool,
        layers.BatchNormalization(momentum=0.9, name=f"{name}_norm", dtype=dtype),
        layers.ReLU(name=f"{name}_relu", dtype=dtype),
    ]


NETWORKS = {"mlp": mlp, "cnn": cnn, "cnn_fast": cnn_fast, "deep_cnn": deep_cnn}


def build(name: str, *, dtype_policy: str = "float32") -> keras.Sequential:
    """The network of that name, built, under a dtype policy.

    Args:
        name: "mlp", "cnn", "cnn_fast" or "deep_cnn".
        dtype_policy: a dtype policy's name, as "mixed_bfloat16".

    Raises:
        UsageError: no network has that name.

    >>> build("cnn", dtype_policy="mixed_bfloat16").input_shape
    (None, 28, 28)
    """
    if name not in NETWORKS:
        raise UsageError(
            f"unknown network. Received: {name}. Expected: one of {', '.join(NETWORKS)}."
        )
    return NETWORKS[name](dtype=dtype_policy)
