"""Embeddings learned by distances."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import images
from tests.programs.program import program


def triplets():
    """x is (anchor, positive, negative)."""
    return ((images(), images() ** 2, images(seed=8)),)


@program("none", arrays=triplets)
def siamese_with_triplet_loss(base):
    class DistanceLayer(layers.Layer):
        def call(self, anchor, positive, negative):
            near = tf.reduce_sum(tf.square(anchor - positive), -1)
            return near, tf.reduce_sum(tf.square(anchor - negative), -1)

    class SiameseModel(base):
        def __init__(self, siamese_network, margin=0.5):
            super().__init__()
            self.siamese_network = siamese_network
            self.margin = margin
            self.loss_tracker = keras.metrics.Mean(name="loss")

        def call(self, inputs):
            return self.siamese_network(inputs)

        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = self._compute_loss(data)
            weights = self.siamese_network.trainable_weights
            gradients = tape.gradient(loss, weights)
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
            self.loss_tracker.update_state(loss)
            return {"loss": self.loss_tracker.result()}

        def test_step(self, data):
            self.loss_tracker.update_state(self._compute_loss(data))
            return {"loss": self.loss_tracker.result()}

        def _compute_loss(self, data):
            near, far = self.siamese_network(keras.utils.unpack_x_y_sample_weight(data)[0])
            return tf.maximum(near - far + self.margin, 0.0)

        @property
        def metrics(self):
            return [self.loss_tracker]

    embedding = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(8),
        ]
    )
    inputs = [keras.Input((8, 8, 2), name=name) for name in ("anchor", "positive", "negative")]
    distances = DistanceLayer()(*[embedding(image) for image in inputs])
    model = SiameseModel(keras.Model(inputs=inputs, outputs=distances))
    model.compile(optimizer=keras.optimizers.Adam(0.001))
    return model
