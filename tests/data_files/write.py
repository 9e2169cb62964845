"""Write files that later versions have to read: ``python -m tests.data_files.write``.

Run it once for each new `mnist_keras.checkpoint.storage.FORMAT`; the files of earlier formats stay.
"""

import contextlib

import keras
import numpy as np

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.checkpoint import storage
from tests.test_saving import FILES, X, Y, compiled, network


class PowerCut(StepCallback):
    """Ends the training after its fourth step, in the second epoch, once it is saved."""

    priority = 3

    def breaks_execution_at(self, step):
        return step == 4

    def on_train_batch_end(self, batch, logs=None):
        if self.model.steps_trained == 4:
            raise InterruptedError


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    model = compiled(TapeModel(network()))
    checkpoint = Checkpoint(FILES / f"checkpoint_format_{storage.FORMAT}", every_steps=4, keep=1)
    fit = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    with contextlib.suppress(InterruptedError):
        model.fit(X, Y, **fit, callbacks=[checkpoint, PowerCut()])
    model.save(FILES / f"model_{storage.FORMAT}.keras")
    np.save(FILES / f"model_{storage.FORMAT}.npy", model.predict(X, verbose=0))
