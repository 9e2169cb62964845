"""Stock ``keras.Model.fit`` over arrays held as float32."""

import keras
import numpy as np

from benchmarks.contenders import BATCH_SIZE, LEARNING_RATE
from mnist_keras import SumSquaredError
from mnist_keras.app import networks


def fit(steps_per_execution):
    """Maker of a fit."""

    def make(train):
        x = train.images.astype(np.float32) / 255
        y = np.eye(10, dtype=np.float32)[train.labels]
        model = networks.build("mlp")
        model.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE),
            loss=SumSquaredError(),
            metrics=["accuracy"],
            steps_per_execution=steps_per_execution,
        )
        return lambda epochs: model.fit(
            x, y, epochs=epochs, batch_size=BATCH_SIZE, shuffle=False, verbose=0
        )

    return make


CONTENDERS = {
    "stock Keras fit": fit(1),
    "stock Keras fit, 100 steps per execution": fit(100),
}
