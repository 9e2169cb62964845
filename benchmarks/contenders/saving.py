"""The same training with and without a checkpoint every 100 steps; here and in Keras."""

import tempfile

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE, this_package
from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.app import networks
from mnist_keras.callbacks import Checkpoint


def _prepared(model, train):
    """Compile a model for the tutorial's recipe; returns its inputs and targets."""
    model.compile(
        optimizer=keras.optimizers.SGD(LEARNING_RATE),
        loss=SumSquaredError(),
        metrics=["accuracy"],
        steps_per_execution=EVERY_STEPS,
    )
    return train.images.astype(np.float32) / 255, np.eye(10, dtype=np.float32)[train.labels]


def keras_fit(make_callbacks):
    """Maker of Keras's own fit, 100 steps per execution."""

    def make(train):
        model = networks.build("mlp")
        x, y = _prepared(model, train)

        def run(epochs):
            with tempfile.TemporaryDirectory() as directory:
                model.fit(
                    x,
                    y,
                    batch_size=BATCH_SIZE,
                    epochs=epochs,
                    shuffle=False,
                    verbose=0,
                    callbacks=make_callbacks(directory),
                )

        return run

    return make


def own_program(make_data, *, saves):
    """Maker of a program that gives its own data to a `TapeModel`.

    Args:
        make_data: returns the arguments of ``fit`` for the arrays x and y.
        saves: whether it has a `Checkpoint`.
    """

    def make(train):
        model = TapeModel(networks.build("mlp"))
        data = make_data(*_prepared(model, train))

        def run(epochs):
            with tempfile.TemporaryDirectory() as path:
                callbacks = [Checkpoint(path, every_steps=EVERY_STEPS)] if saves else []
                model.fit(**data, epochs=epochs, verbose=0, callbacks=callbacks)

        return run

    return make


def arrays(x, y):
    return {"x": x, "y": y, "batch_size": BATCH_SIZE}


def shuffled_data_set(x, y):
    examples = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(1000, seed=1)
    return {"x": examples.batch(BATCH_SIZE).prefetch(2)}


class Batches(keras.utils.PyDataset):
    """The batches of two arrays."""

    def __init__(self, x, y):
        super().__init__()
        self._x, self._y = x, y

    def __len__(self):
        return len(self._x) // BATCH_SIZE

    def __getitem__(self, index):
        rows = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        return self._x[rows], self._y[rows]


def py_dataset(x, y):
    return {"x": Batches(x, y)}


OWN_DATA = {
    "arrays": arrays,
    "tf.data, shuffle(1000), prefetch": shuffled_data_set,
    "PyDataset": py_dataset,
}
CONTENDERS = {
    **{f"TapeModel, {name}": own_program(data, saves=False) for name, data in OWN_DATA.items()},
    **{
        f"TapeModel, {name}, Checkpoint": own_program(data, saves=True)
        for name, data in OWN_DATA.items()
    },
    "this package": this_package.fit(callbacks=lambda _: []),
    "this package, Checkpoint": this_package.fit(
        callbacks=lambda path: [Checkpoint(path, every_steps=EVERY_STEPS)]
    ),
    "Keras fit": keras_fit(lambda _: []),
    "Keras fit, ModelCheckpoint": keras_fit(
        lambda path: [keras.callbacks.ModelCheckpoint(f"{path}/model.keras", save_freq=EVERY_STEPS)]
    ),
    "Keras fit, BackupAndRestore": keras_fit(
        lambda path: [keras.callbacks.BackupAndRestore(path, save_freq=EVERY_STEPS)]
    ),
}
