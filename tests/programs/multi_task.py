"""Several tasks whose losses are weighted by learned uncertainties."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import classes, vectors
from tests.programs.program import program


def two_tasks():
    return vectors(6), {"kind": classes(3), "size": vectors(1, seed=20)}


@program("seed_generator", arrays=two_tasks)
def multi_task(base):
    class MultiTask(base):
        def __init__(self, hidden_units=8):
            super().__init__()
            self.trunk = layers.Dense(hidden_units, activation="relu")
            self.dropout = layers.Dropout(0.2)
            self.heads = {"kind": layers.Dense(3), "size": layers.Dense(1)}
            self.log_variances = {
                name: self.add_weight(shape=(), initializer="zeros", name=f"{name}_log_variance")
                for name in self.heads
            }

        def call(self, x, training=None):
            x = self.dropout(self.trunk(x), training=training)
            return {name: head(x) for name, head in self.heads.items()}

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            kind = keras.losses.sparse_categorical_crossentropy(
                y["kind"], y_pred["kind"], from_logits=True
            )
            size = keras.losses.mean_squared_error(y["size"], y_pred["size"])
            losses = {"kind": tf.reduce_mean(kind), "size": tf.reduce_mean(size)}
            return tf.add_n(
                [tf.exp(-self.log_variances[n]) * losses[n] + self.log_variances[n] for n in losses]
            )

    model = MultiTask()
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, amsgrad=True),
        metrics={"kind": ["accuracy"], "size": ["mae"]},
    )
    return model
