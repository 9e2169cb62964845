"""``TapeModel.fit`` with every callback that ``main.py`` uses."""

import contextlib
import os
import tempfile

import keras

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE
from mnist_keras import SumSquaredError, TapeModel, networks
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.data import batches


def fit(*, dtype_policy="float32", with_callbacks=True):
    """Maker of one epoch of fit; it logs every 100 steps and saves at the epoch's end."""

    def make(train):
        model = TapeModel(networks.build("mlp", dtype_policy=dtype_policy))
        model.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE),
            loss=SumSquaredError(),
            metrics=["accuracy"],
            steps_per_execution="auto",
        )
        stream = batches(train.images, train.labels, batch_size=BATCH_SIZE)
        directory = tempfile.mkdtemp()
        callbacks = [
            StepLogger(directory, every_steps=EVERY_STEPS),
            Checkpoint(f"{directory}/checkpoints"),
            GracefulShutdown(),
        ]

        def run_epoch():
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                model.fit(stream, verbose=0, callbacks=callbacks if with_callbacks else [])

        return run_epoch

    return make


CONTENDERS = {
    "this package, all callbacks": fit(),
    "this package, no callback": fit(with_callbacks=False),
    "this package, mixed_bfloat16, all callbacks": fit(dtype_policy="mixed_bfloat16"),
}
