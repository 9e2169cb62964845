"""What all trainings by Keras's `fit` share."""

import keras
import numpy as np

from benchmarks.peers_resuming import (
    BATCH_SIZE,
    CLASSES,
    DROPOUT,
    EPOCHS,
    FEATURES,
    LEARNING_RATE,
    UNITS,
)


@keras.saving.register_keras_serializable("peers_resuming")
class LastExamples(keras.layers.Layer):
    """Keeps the first column, the numbers of the batch's examples, and gives the others."""

    def build(self, input_shape):
        self.numbers = self.add_weight(shape=(BATCH_SIZE,), initializer="zeros", trainable=False)

    def call(self, x):
        self.numbers.assign(x[:, 0])
        return x[:, 1:]


class Recorder(keras.callbacks.Callback):
    """Tells the `Job` of each step."""

    def __init__(self, job):
        super().__init__()
        self._job = job

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if not hasattr(self, "_has_begun"):
            self._has_begun = True
            self._job.begin(self.model.optimizer.iterations)

    def on_train_batch_end(self, batch, logs=None):
        numbers = next(x for x in self.model.layers if isinstance(x, LastExamples)).numbers
        self._job.trained(self._epoch, keras.ops.convert_to_numpy(numbers))


def built(base=keras.Model):
    """A compiled mlp; its class is a subclass of ``keras.Model``."""
    inputs = keras.Input(batch_shape=(BATCH_SIZE, 1 + FEATURES))
    x = LastExamples()(inputs)
    x = keras.layers.Dense(UNITS, activation="relu")(x)
    x = keras.layers.Dropout(DROPOUT)(x)
    model = base(inputs=inputs, outputs=keras.layers.Dense(CLASSES)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def fit(job, model, data, *, callbacks, initial_epoch=0):
    """Train a model; its weights and its optimizer's state."""
    model.fit(
        **data,
        epochs=EPOCHS,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[*callbacks, Recorder(job)],
    )
    return named(model.trainable_variables), named(model.optimizer.variables)


def named(variables):
    """{place and name: array}."""
    return {
        f"{number} {variable.name}": np.array(keras.ops.convert_to_numpy(variable))
        for number, variable in enumerate(variables)
    }
