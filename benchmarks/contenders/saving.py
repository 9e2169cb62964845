"""One epoch with a checkpoint every 100 steps, and the same without; here and in Keras."""

import tempfile

import keras
import numpy as np

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE
from mnist_keras import SumSquaredError, TapeModel, networks
from mnist_keras.callbacks import Checkpoint
from mnist_keras.data import batches


def fit(base, make_callbacks):
    """Maker of one epoch of fit, 100 steps per execution."""

    def make(train):
        model = base(networks.build("mlp"))
        model.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE),
            loss=SumSquaredError(),
            metrics=["accuracy"],
            steps_per_execution=EVERY_STEPS,
        )
        if base is TapeModel:
            data = {"x": batches(train.images, train.labels, batch_size=BATCH_SIZE)}
        else:
            x = train.images.astype(np.float32) / 255
            y = np.eye(10, dtype=np.float32)[train.labels]
            data = {"x": x, "y": y, "batch_size": BATCH_SIZE, "shuffle": False}
        directory = tempfile.mkdtemp()
        return lambda: model.fit(**data, verbose=0, callbacks=make_callbacks(directory))

    return make


def _plain(network):
    return network


CONTENDERS = {
    "this package": fit(TapeModel, lambda _: []),
    "this package, Checkpoint": fit(
        TapeModel, lambda path: [Checkpoint(path, every_steps=EVERY_STEPS, resume=False)]
    ),
    "Keras fit": fit(_plain, lambda _: []),
    "Keras fit, ModelCheckpoint": fit(
        _plain,
        lambda path: [
            keras.callbacks.ModelCheckpoint(f"{path}/model.keras", save_freq=EVERY_STEPS)
        ],
    ),
    "Keras fit, BackupAndRestore": fit(
        _plain, lambda path: [keras.callbacks.BackupAndRestore(path, save_freq=EVERY_STEPS)]
    ),
}
