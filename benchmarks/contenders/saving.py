"""The same training with and without a checkpoint every 100 steps; here and in Keras."""

import tempfile

import keras
import numpy as np

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE, this_package
from mnist_keras import SumSquaredError
from mnist_keras.app import networks
from mnist_keras.callbacks import Checkpoint


def keras_fit(make_callbacks):
    """Maker of Keras's own fit, 100 steps per execution."""

    def make(train):
        model = networks.build("mlp")
        model.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE),
            loss=SumSquaredError(),
            metrics=["accuracy"],
            steps_per_execution=EVERY_STEPS,
        )
        x = train.images.astype(np.float32) / 255
        y = np.eye(10, dtype=np.float32)[train.labels]

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


CONTENDERS = {
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
