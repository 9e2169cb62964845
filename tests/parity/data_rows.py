"""Kinds of data and of weights, and the arguments of fit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.parity.rows import CLASSES, WEIGHTS, X, Y, column, dense, fitted, row, sgd

DATA, FIT = "Data and weights", "Arguments of fit"


def dataset(count=22):
    return tf.data.Dataset.from_tensor_slices((X[:count], Y[:count])).batch(8)


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return X[part], Y[part], WEIGHTS[part]


def endless():
    while True:
        for begin in range(0, 22, 8):
            yield X[begin : begin + 8], Y[begin : begin + 8]


column("arrays", DATA)
column("a last batch of one", DATA, x=X[:17], y=Y[:17])
column("a batch larger than the data", DATA, batch_size=99)
column("arrays of float64", DATA, x=X.astype("float64"), y=Y.astype("float64"))
column("arrays of uint8", DATA, x=(9 * abs(X)).astype("uint8"))
column("Keras's own batch size and order", DATA, batch_size=None, shuffle=True)
column("shuffled arrays", DATA, shuffle=True)
column("arrays shuffled by batches", DATA, shuffle="batch")
column("labels of one column", DATA, y=Y[:, :1], outputs=1)
column("labels without a column", DATA, y=Y[:, 0], outputs=1)
column("tensors", DATA, x=lambda: tf.constant(X), y=lambda: tf.constant(Y))
column("a tf.data.Dataset", DATA, x=dataset, y=None)
column(
    "a shuffled tf.data.Dataset",
    DATA,
    x=lambda: dataset().shuffle(9, seed=1, reshuffle_each_iteration=True),
    y=None,
)
column(
    "a tf.data.Dataset with sample weights",
    DATA,
    x=lambda: tf.data.Dataset.from_tensor_slices((X, Y, WEIGHTS)).batch(8),
    y=None,
    compiled={"weighted_metrics": ["mae"]},
)
column(
    "data of unknown length",
    DATA,
    x=lambda: dataset().filter(lambda *_: True),
    y=None,
    keras_is_wrong="if the length of the data is unknown, each epoch in graph mode ends with one "
    "more update, with gradients of 0: momentum moves the weights once more, and iterations counts "
    "a step that did not take place",
    right="a tf.data.Dataset",
)
column(
    "endless data with steps_per_epoch",
    DATA,
    x=lambda: dataset().repeat(),
    y=None,
    steps_per_epoch=4,
)
column("steps_per_epoch within the data", DATA, x=dataset, y=None, steps_per_epoch=2, epochs=1)
column(
    "validation_steps that are not a pass over the data",
    DATA,
    validation_data=lambda: dataset().repeat(),
    validation_steps=4,
    epochs=3,
)
column(
    "fewer batches than steps_per_epoch and validation_steps",
    DATA,
    x=dataset,
    y=None,
    steps_per_epoch=5,
    validation_data=dataset,
    validation_steps=5,
)
column(
    "validation data of unknown length",
    DATA,
    validation_data=lambda: dataset().filter(lambda *_: True),
    epochs=3,
)
column("a keras.utils.PyDataset", DATA, x=Sequence, y=None)
column("a keras.utils.PyDataset with threads", DATA, x=lambda: Sequence(workers=2), y=None)
column("an endless generator", DATA, x=endless, y=None, steps_per_epoch=4)


@row("a generator that ends", DATA)
def _(make):
    batches = ((X[i : i + 8], Y[i : i + 8]) for i in range(0, 22, 8))
    return fitted(make.wrapped(dense()), batches, None, epochs=1, steps_per_epoch=3)


@row("pandas", DATA)
def _(make):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table, labels = pandas.DataFrame(X, columns=list("abcd")), pandas.DataFrame(Y)
    model = make.wrapped(dense())
    model.compile(sgd(), "mse")
    fit = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    weights = pandas.Series(WEIGHTS)
    history = model.fit(table, labels, sample_weight=weights, **fit).history
    return history, model.evaluate(table, labels, verbose=0), model.predict(table, verbose=0)


@row("a torch.utils.data.DataLoader", DATA)
def _(make):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pairs = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(pairs, batch_size=8)
    model = make.wrapped(dense())
    return fitted(model, loader, None), model.evaluate(loader, verbose=0)


column(
    "sample_weight",
    DATA,
    sample_weight=WEIGHTS,
    compiled={"metrics": ["mae"], "weighted_metrics": ["mae", "mse"]},
)
column(
    "class_weight",
    DATA,
    y=CLASSES,
    outputs=3,
    loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    class_weight={0: 1.0, 1: 3.0, 2: 0.5},
    compiled={"weighted_metrics": ["accuracy"]},
)
column(
    "class_weight of one-hot labels",
    DATA,
    y=np.eye(3, dtype="float32")[CLASSES],
    outputs=3,
    loss=lambda: keras.losses.CategoricalCrossentropy(from_logits=True),
    class_weight={0: 1.0, 1: 3.0, 2: 0.5},
)


@row("no labels, with the network's own loss", DATA)
def _(make):
    class Own(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.mean(keras.ops.square(x - 1)))
            return x

    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Own()])
    return fitted(make.wrapped(network), X, None, loss=None)


column("validation_split", FIT, validation_split=0.3, compiled={"metrics": ["mae"]})
column(
    "validation_split of weighted data",
    FIT,
    validation_split=0.3,
    sample_weight=WEIGHTS,
    compiled={"weighted_metrics": ["mae"]},
)
column("validation_data with weights", FIT, validation_data=(X[:9], Y[:9], WEIGHTS[:9]))
column(
    "validation_data with another batch size",
    FIT,
    validation_data=(X, Y),
    validation_batch_size=5,
    validation_steps=2,
)
column("validation_data as a tf.data.Dataset", FIT, validation_data=lambda: dataset(11))
column("validation_freq", FIT, validation_data=(X[:9], Y[:9]), validation_freq=2, epochs=5)
column(
    "validation_freq as a list",
    FIT,
    validation_data=(X[:9], Y[:9]),
    validation_freq=[1, 3],
    epochs=4,
)
column("initial_epoch", FIT, initial_epoch=3, epochs=5)


@row("zero epochs", FIT)
def _(make):
    model = make.wrapped(dense())
    model.compile(sgd(), "mse")
    history = model.fit(X, Y, initial_epoch=2, epochs=2, verbose=0)
    return history.history, history.epoch, model.get_weights()


@row("fit twice", FIT)
def _(make):
    model = make.wrapped(dense())
    first = fitted(model, compiled={"metrics": ["mae"]})
    again = model.fit(X, Y, batch_size=5, epochs=2, verbose=0, shuffle=False).history
    return first, again, model.get_weights()


@row("compile twice", FIT)
def _(make):
    model = make.wrapped(dense())
    first = fitted(model, compiled={"metrics": ["mae"]})
    second = fitted(model, optimizer=keras.optimizers.Adam(0.01), loss="mae")
    return first, second


@row("an untrained model is built by fit", FIT)
def _(make):
    layers = [keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)]
    return fitted(make.wrapped(keras.Sequential(layers)), compiled={"metrics": ["mae"]})
