"""Normalizing flows."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.programs.arrays import vectors
from tests.programs.program import program


@program("keras_global", arrays=lambda: (vectors(2),))
def real_nvp(base):
    def coupling():
        inputs = keras.Input((2,))
        scale = layers.Dense(8, activation="relu", kernel_regularizer="l2")(inputs)
        shift = layers.Dense(8, activation="relu", kernel_regularizer="l2")(inputs)
        outputs = [layers.Dense(2, activation="tanh")(scale), layers.Dense(2)(shift)]
        return keras.Model(inputs, outputs)

    class RealNVP(base):
        def __init__(self, num_coupling_layers):
            super().__init__()
            self.num_coupling_layers = num_coupling_layers
            halves = np.array([[0, 1], [1, 0]] * (num_coupling_layers // 2), dtype="float32")
            self.masks = halves
            self.loss_tracker = keras.metrics.Mean(name="loss")
            self.layers_list = [coupling() for _ in range(num_coupling_layers)]

        @property
        def metrics(self):
            return [self.loss_tracker]

        def call(self, x, training=True):
            log_determinant = tf.zeros(tf.shape(x)[0])
            direction = -1 if training else 1
            for i in range(self.num_coupling_layers)[::direction]:
                mask = self.masks[i]
                scale, shift = self.layers_list[i](x * mask)
                scale, shift = scale * (1 - mask), shift * (1 - mask)
                if training:
                    x = mask * x + (1 - mask) * (x - shift) * tf.exp(-scale)
                else:
                    x = mask * x + (1 - mask) * (x * tf.exp(scale) + shift)
                log_determinant += direction * tf.reduce_sum(scale, axis=1)
            return x, log_determinant

        def log_loss(self, x):
            code, log_determinant = self(x)
            density = -0.5 * tf.reduce_sum(code**2, axis=1) - math.log(2 * math.pi)
            return -tf.reduce_mean(density + log_determinant)

        def train_step(self, data):
            data += keras.random.uniform(tf.shape(data), -0.05, 0.05)
            with tf.GradientTape() as tape:
                loss = self.log_loss(data)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.loss_tracker.update_state(loss)
            return {"loss": self.loss_tracker.result()}

        def test_step(self, data):
            self.loss_tracker.update_state(self.log_loss(data))
            return {"loss": self.loss_tracker.result()}

    model = RealNVP(num_coupling_layers=2)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001))
    return model
