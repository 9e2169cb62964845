"""Learning without backpropagation: each layer has its own optimizer."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import classes, images
from tests.programs.program import program


def flat_images():
    return images().reshape(-1, 8 * 8 * 2), classes(3)


@program("tf_global", arrays=flat_images)
def forward_forward(base):
    class ForwardForwardDense(layers.Layer):
        def __init__(self, units, optimizer, loss_metric, num_epochs=2, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(units, activation="relu")
            self.optimizer = optimizer
            self.loss_metric = loss_metric
            self.num_epochs = num_epochs

        def call(self, x):
            return self.dense(x / (tf.norm(x, axis=1, keepdims=True) + 1e-4))

        def forward_forward(self, positive, negative):
            for _ in range(self.num_epochs):
                with tf.GradientTape() as tape:
                    good = tf.reduce_mean(self(positive) ** 2, axis=1) - 0.05
                    bad = tf.reduce_mean(self(negative) ** 2, axis=1) - 0.05
                    loss = tf.reduce_mean(tf.nn.softplus(tf.concat([-good, bad], axis=0)))
                weights = self.dense.trainable_weights
                gradients = tape.gradient(loss, weights)
                self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
                self.loss_metric.update_state(loss)
            positive, negative = self(positive), self(negative)
            return tf.stop_gradient(positive), tf.stop_gradient(negative), self.loss_metric.result()

    class ForwardForwardNetwork(base):
        def __init__(self, dims, **kwargs):
            super().__init__(**kwargs)
            self.loss_var = tf.Variable(0.0, trainable=False)
            self.loss_count = tf.Variable(0.0, trainable=False)
            self.layer_list = [
                ForwardForwardDense(width, keras.optimizers.Adam(0.03), keras.metrics.Mean())
                for width in dims
            ]

        @tf.function(reduce_retracing=True)
        def overlay(self, x, y):
            return tf.concat([tf.one_hot(y, 3), x[:, 3:]], axis=1)

        def train_step(self, data):
            x, y = data
            positive = self.overlay(x, y)
            negative = self.overlay(x, tf.random.shuffle(y))
            for layer in self.layer_list:
                positive, negative, loss = layer.forward_forward(positive, negative)
                self.loss_var.assign_add(loss)
                self.loss_count.assign_add(1.0)
            return {"FinalLoss": self.loss_var / self.loss_count}

    model = ForwardForwardNetwork(dims=[8, 6])
    model.compile(optimizer=keras.optimizers.Adam(0.03), loss="mse")
    return model
