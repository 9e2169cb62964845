"""A network that solves differential equations."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import vectors
from tests.programs.program import program


def measured_points():
    x = vectors(1)
    return x, 2 * x**2


@program("tf_global", arrays=measured_points)
def physics_informed(base):
    class HeatSource(base):
        """Solves k u'' = 1 through measured points, for u and k."""

        def __init__(self, u):
            super(HeatSource, self).__init__()  # noqa: UP008  # As in older programs.
            self.u = u
            self.k = self.add_weight(shape=(), initializer="ones", name="k")

        def call(self, x):
            return self.u(x)

        def train_step(self, data):
            x, y = data
            points = tf.random.uniform((8, 1), -1.0, 1.0)
            with tf.GradientTape() as tape:
                with tf.GradientTape() as outer:
                    outer.watch(points)
                    with tf.GradientTape() as inner:
                        inner.watch(points)
                        u = self.u(points, training=True)
                    slope = inner.gradient(u, points)
                curvature = outer.gradient(slope, points)
                y_pred = self(x, training=True)
                residual = tf.reduce_mean((self.k * curvature - 1.0) ** 2)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred) + residual
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(
                (gradient, variable)
                for gradient, variable in zip(gradients, self.trainable_variables, strict=True)
                if gradient is not None
            )
            return {"loss": loss, "residual": residual, "k": tf.identity(self.k)}

    hidden = [layers.Dense(8, activation="tanh") for _ in range(2)]
    model = HeatSource(keras.Sequential([keras.Input((1,)), *hidden, layers.Dense(1)]))
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=3, decay_rate=0.9)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    return model
