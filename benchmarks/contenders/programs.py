"""Small versions of models that people train, by Keras and by this package.

All of them are trained on arrays of random numbers, which cost as much as real ones. The number of
examples is that of the training set that a maker is given, but at most as many as make an epoch of
about a second.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger

STEPS = 20  # per execution, of Keras's second contender


class Program(NamedTuple):
    """A model and its data.

    Attributes:
        make: defines the compiled model on a base class.
        arrays: returns (x, y) of n examples, given a random generator and n.
        batch_size: in examples.
        steps: in an epoch, at most.
    """

    make: Callable[[type[keras.Model]], keras.Model]
    arrays: Callable[[np.random.Generator, int], tuple[Any, Any]]
    batch_size: int
    steps: int


def _classifier(inputs, outputs, base):
    model = base(inputs=inputs, outputs=outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def mlp(base):
    inputs = keras.Input((784,))
    hidden = layers.Dense(256, activation="relu")(layers.Dense(512, activation="relu")(inputs))
    return _classifier(inputs, layers.Dense(10)(hidden), base)


def table(base):
    inputs = keras.Input((20,))
    hidden = layers.Dense(32, activation="relu")(layers.Dense(64, activation="relu")(inputs))
    return _classifier(inputs, layers.Dense(2)(hidden), base)


def two_inputs(base):
    a, b = keras.Input((16,), name="a"), keras.Input((8,), name="b")
    hidden = layers.Concatenate()(
        [layers.Dense(32, activation="relu")(a), layers.Dense(16, activation="relu")(b)]
    )
    outputs = {
        "price": layers.Dense(1, name="price")(hidden),
        "kind": layers.Dense(3, activation="softmax", name="kind")(hidden),
    }
    model = base(inputs={"a": a, "b": b}, outputs=outputs)
    losses = {"price": "mse", "kind": "sparse_categorical_crossentropy"}
    model.compile("adam", losses, metrics={"price": ["mae"], "kind": ["accuracy"]})
    return model


def cnn(base):
    inputs = keras.Input((28, 28, 1))
    hidden = inputs
    for filters in (16, 32):
        hidden = layers.Conv2D(filters, 3, activation="relu")(hidden)
        hidden = layers.MaxPooling2D()(hidden)
    return _classifier(
        inputs, layers.Dense(10)(layers.Dropout(0.5)(layers.Flatten()(hidden))), base
    )


def lstm(base):
    inputs = keras.Input((20,), dtype="int32")
    hidden = layers.LSTM(32)(layers.Embedding(1000, 32)(inputs))
    return _classifier(inputs, layers.Dense(2)(hidden), base)


def transformer(base):
    inputs = keras.Input((32,), dtype="int32")
    hidden = layers.Embedding(1000, 32)(inputs)
    attended = layers.MultiHeadAttention(2, 16)(hidden, hidden)
    hidden = layers.LayerNormalization()(hidden + attended)
    forward = layers.Dense(32)(layers.Dense(64, activation="relu")(hidden))
    hidden = layers.LayerNormalization()(hidden + forward)
    return _classifier(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(hidden)), base)


def autoencoder(base):
    inputs = keras.Input((28, 28, 1))
    code = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    wide = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(code)
    outputs = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(wide)
    model = base(inputs=inputs, outputs=outputs)
    model.compile("adam", "binary_crossentropy")
    return model


def recommender(base):
    user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    vectors = layers.Embedding(2000, 32)(user), layers.Embedding(5000, 32)(item)
    model = base(inputs=(user, item), outputs=layers.Dot(axes=1)(vectors))
    model.compile("adam", "mse")
    return model


def own_train_step(base):
    """A variational autoencoder, whose ``train_step`` is its own."""

    class Model(base):
        def __init__(self):
            super().__init__()
            self.encoder = keras.Sequential([layers.Dense(128, activation="relu"), layers.Dense(4)])
            self.decoder = keras.Sequential(
                [layers.Dense(128, activation="relu"), layers.Dense(784)]
            )
            self.draws = keras.random.SeedGenerator(1)
            self.mean = keras.metrics.Mean(name="loss")

        def build(self, shape):
            self.encoder.build(shape)
            self.decoder.build((None, 2))

        def train_step(self, data):
            x, _ = data
            with tf.GradientTape() as tape:
                mean, spread = tf.split(self.encoder(x), 2, axis=1)
                noise = keras.random.normal(tf.shape(mean), seed=self.draws)
                decoded = self.decoder(mean + tf.exp(spread) * noise)
                divergence = tf.exp(2 * spread) + mean**2 - 1 - 2 * spread
                loss = tf.reduce_mean((decoded - x) ** 2) + tf.reduce_mean(divergence)
            weights = self.trainable_weights
            self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            self.mean.update_state(loss)
            return {"loss": self.mean.result()}

        @property
        def metrics(self):
            return [self.mean]

    model = Model()
    model.build((None, 784))
    model.compile("adam")
    return model


def mobilenet(base):
    inputs = keras.Input((32, 32, 3))
    network = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    model = base(inputs=inputs, outputs=network(inputs))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _floats(*shape):
    return lambda random, n: random.random((n, *shape), dtype="float32")


def _integers(below, *shape):
    return lambda random, n: random.integers(0, below, (n, *shape))


def _pairs(x, y):
    return lambda random, n: (x(random, n), y(random, n))


def _of_two_inputs(random, n):
    x = {"a": _floats(16)(random, n), "b": _floats(8)(random, n)}
    return x, {"price": _floats(1)(random, n), "kind": _integers(3)(random, n)}


def _images_twice(random, n):
    images = _floats(28, 28, 1)(random, n)
    return images, images


def _of_recommender(random, n):
    pair = _integers(2000)(random, n), _integers(5000)(random, n)
    return pair, _floats(1)(random, n)


PROGRAMS = {
    "mlp": Program(mlp, _pairs(_floats(784), _integers(10)), 128, 250),
    "table": Program(table, _pairs(_floats(20), _integers(2)), 32, 2500),
    "two inputs": Program(two_inputs, _of_two_inputs, 32, 1500),
    "cnn": Program(cnn, _pairs(_floats(28, 28, 1), _integers(10)), 64, 150),
    "lstm": Program(lstm, _pairs(_integers(1000, 20), _integers(2)), 32, 400),
    "transformer": Program(transformer, _pairs(_integers(1000, 32), _integers(2)), 32, 250),
    "autoencoder": Program(autoencoder, _images_twice, 64, 150),
    "recommender": Program(recommender, _of_recommender, 256, 1000),
    "own train_step": Program(own_train_step, _pairs(_floats(784), _integers(10)), 128, 500),
    "MobileNetV2": Program(mobilenet, _pairs(_floats(32, 32, 3), _integers(10)), 32, 15),
}


class _Batches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size):
        super().__init__()
        self._x, self._y, self._batch_size = x, y, batch_size

    def __len__(self):
        return len(self._x) // self._batch_size

    def __getitem__(self, index):
        rows = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self._x[rows], self._y[rows]


def _as_arrays(x, y, batch_size):
    return {"x": x, "y": y, "batch_size": batch_size}


def _as_dataset(x, y, batch_size):
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(1000, seed=1)
    return {"x": data.batch(batch_size).prefetch(2)}


def _as_py_dataset(x, y, batch_size):
    return {"x": _Batches(x, y, batch_size)}


DATA = {"": _as_arrays, ", tf.data": _as_dataset, ", PyDataset": _as_py_dataset}
ROWS = {
    **{name: (program, "") for name, program in PROGRAMS.items()},
    **{
        f"{name}{data}": (PROGRAMS[name], data) for name in ("mlp", "table") for data in [*DATA][1:]
    },
}


@contextlib.contextmanager
def _callbacks(are_used):
    """StepLogger, Checkpoint and GracefulShutdown, in a directory of their own."""
    if not are_used:
        yield []
        return
    with tempfile.TemporaryDirectory() as path:
        checkpoint = Checkpoint(os.path.join(path, "checkpoints"))
        yield [StepLogger(path), checkpoint, GracefulShutdown()]


def fit(row, base, *, steps=None, with_callbacks=False):
    """Maker of the ``fit`` of a program.

    Args:
        row: its name in `ROWS`.
        base: ``keras.Model`` or `TapeModel`.
        steps: per execution; None: the default of the base.
        with_callbacks: whether it has the three callbacks.
    """

    def make(train):
        program, data = ROWS[row]
        keras.utils.set_random_seed(0)
        model = program.make(base)
        if steps is not None:
            model.steps_per_execution = steps
        count = min(len(train.labels), program.steps * program.batch_size)
        arrays = program.arrays(np.random.default_rng(0), count)
        arguments = DATA[data](*arrays, program.batch_size)

        def run(epochs):
            with _callbacks(with_callbacks) as callbacks:
                model.fit(**arguments, epochs=epochs, verbose=0, callbacks=callbacks)

        return run

    return make


WAYS = {
    "keras.Model": functools.partial(fit, base=keras.Model),
    f"keras.Model, {STEPS} steps": functools.partial(fit, base=keras.Model, steps=STEPS),
    "TapeModel": functools.partial(fit, base=TapeModel),
    "TapeModel, 3 callbacks": functools.partial(fit, base=TapeModel, with_callbacks=True),
}
CONTENDERS = {f"{row}: {way}": make(row) for row in ROWS for way, make in WAYS.items()}
