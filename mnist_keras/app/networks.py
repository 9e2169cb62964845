"""The networks: from float32 images (n, 28, 28) in [0, 1] to float32 scores (n, 10).

The description of a data set can set another image shape and another number of scores.
"""

import keras
from keras import layers

from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.data.description import DatasetDescription
from mnist_keras.errors import UsageError


def mlp(*, dtype: str | None = None, description: DatasetDescription = MNIST) -> keras.Sequential:
    """The tutorial's network: dense layers of 512, 256 and 10 units, relu between them.

    After ``keras.utils.set_random_seed(seed)`` it has the same initial weights as the tutorial's
    three layers after the same call.

    Args:
        dtype: the name of a dtype policy, for example "mixed_bfloat16"; None: the global policy.
        description: the shape of the images and the number of classes.

    >>> mlp().count_params()
    535818
    """
    options = _options(dtype)
    return keras.Sequential(
        [
            keras.Input(description.image_shape, name="image"),
            layers.Flatten(name="flatten", **options),
            layers.Dense(512, activation="relu", name="dense_512", dtype=dtype),
            layers.Dense(256, activation="relu", name="dense_256", dtype=dtype),
            layers.Dense(description.classes, name="scores", dtype="float32"),
        ],
        name="mlp",
    )


def cnn(*, dtype: str | None = None, description: DatasetDescription = MNIST) -> keras.Sequential:
    """Two convolutions and two dense layers; about 0.2 million weights.

    Args:
        dtype, description: as for `mlp`.

    >>> cnn().output_shape
    (None, 10)
    """
    options = _options(dtype)
    return keras.Sequential(
        [
            keras.Input(description.image_shape, name="image"),
            layers.Reshape(_with_channels(description), name="channel", dtype=dtype),
            layers.Conv2D(24, 5, activation="relu", name="conv_5x5", **options),
            layers.MaxPooling2D(name="pool_1", **options),
            layers.Conv2D(32, 3, activation="relu", name="conv_3x3", **options),
            layers.MaxPooling2D(name="pool_2", **options),
            layers.Flatten(name="flatten", **options),
            layers.Dropout(0.25, name="dropout", dtype=dtype),
            layers.Dense(256, activation="relu", name="dense_256", dtype=dtype),
            layers.Dense(description.classes, name="scores", dtype="float32"),
        ],
        name="cnn",
    )


def cnn_fast(
    *, dtype: str | None = None, description: DatasetDescription = MNIST
) -> keras.Sequential:
    """`cnn` with fewer channels and no dropout, for high accuracy after one epoch.

    Args:
        dtype, description: as for `mlp`.

    >>> cnn_fast().count_params()
    108874
    """
    options = _options(dtype)
    return keras.Sequential(
        [
            keras.Input(description.image_shape, name="image"),
            layers.Reshape(_with_channels(description), name="channel", dtype=dtype),
            layers.Conv2D(16, 5, activation="relu", name="conv_5x5", **options),
            layers.MaxPooling2D(name="pool_1", **options),
            layers.Conv2D(32, 3, activation="relu", name="conv_3x3", **options),
            layers.MaxPooling2D(name="pool_2", **options),
            layers.Flatten(name="flatten", **options),
            layers.Dense(128, activation="relu", name="dense_128", dtype=dtype),
            layers.Dense(description.classes, name="scores", dtype="float32"),
        ],
        name="cnn_fast",
    )


def deep_cnn(
    *, dtype: str | None = None, description: DatasetDescription = MNIST
) -> keras.Sequential:
    """Four convolutions with batch normalization, for high accuracy; about 0.3 million weights.

    The convolutions have no padding, so later layers compute fewer positions. Digits have wide
    margins, so little is lost.

    Args:
        dtype, description: as for `mlp`.

    >>> deep_cnn().output_shape
    (None, 10)
    """
    options = _options(dtype)
    return keras.Sequential(
        [
            keras.Input(description.image_shape, name="image"),
            layers.Reshape(_with_channels(description), name="channel", dtype=dtype),
            *_convolution(48, 5, name="conv_1", pools=True, dtype=dtype),
            *_convolution(96, 3, name="conv_2", dtype=dtype),
            *_convolution(96, 3, name="conv_3", pools=True, dtype=dtype),
            *_convolution(192, 3, name="conv_4", dtype=dtype),
            layers.Flatten(name="flatten", **options),
            layers.Dropout(0.4, name="dropout", dtype=dtype),
            layers.Dense(description.classes, name="scores", dtype="float32"),
        ],
        name="deep_cnn",
    )


def _options(dtype):
    """The options of a layer that looks at the axes of an image."""
    # Keras's default is the user's keras.json, and would give another network.
    return {"dtype": dtype, "data_format": "channels_last"}


def _with_channels(description):
    """(height, width, channels) of an image; a grey image without channels gets one."""
    height, width, *channels = description.image_shape
    return (height, width, *(channels or (1,)))


def _convolution(filters, size, *, name, pools=False, dtype=None):
    """A convolution, optional 2x2 max pooling, batch normalization and relu."""
    options = _options(dtype)
    # Pooling first leaves a quarter of the positions to normalize.
    pool = [layers.MaxPooling2D(name=f"{name}_pool", **options)] if pools else []
    return [
        layers.Conv2D(filters, size, use_bias=False, name=name, **options),
        *pool,
        layers.BatchNormalization(momentum=0.9, name=f"{name}_norm", dtype=dtype),
        layers.ReLU(name=f"{name}_relu", dtype=dtype),
    ]


NETWORKS = {"mlp": mlp, "cnn": cnn, "cnn_fast": cnn_fast, "deep_cnn": deep_cnn}


def build(
    name: str, *, dtype_policy: str = "float32", description: DatasetDescription = MNIST
) -> keras.Sequential:
    """The network with this name, built with a dtype policy.

    Args:
        name: "mlp", "cnn", "cnn_fast" or "deep_cnn".
        dtype_policy: the name of a dtype policy, for example "mixed_bfloat16".
        description: the shape of the images and the number of classes.

    Raises:
        UsageError: the name is unknown.

    >>> build("cnn", dtype_policy="mixed_bfloat16").input_shape
    (None, 28, 28)
    """
    if name not in NETWORKS:
        raise UsageError(
            f"unknown network. Received: {name}. Expected: one of {', '.join(NETWORKS)}."
        )
    return NETWORKS[name](dtype=dtype_policy, description=description)
