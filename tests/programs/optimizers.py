"""Steps that change how gradients are taken or applied."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import labelled_images
from tests.programs.program import program


def network(*, normalized=False):
    """The input and the output of a classifier."""
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, strides=2)(inputs)
    if normalized:
        x = layers.BatchNormalization()(x)
    x = layers.Flatten()(layers.ReLU()(x))
    return inputs, layers.Dense(3)(x)


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@program("none", arrays=labelled_images)
def gradient_centralization(base):
    class CentralizedRMSprop(keras.optimizers.RMSprop):
        def apply(self, grads, trainable_variables=None):
            def centered(gradient):
                if len(gradient.shape) < 2:
                    return gradient
                axes = list(range(len(gradient.shape) - 1))
                return gradient - tf.reduce_mean(gradient, axis=axes, keepdims=True)

            super().apply([centered(gradient) for gradient in grads], trainable_variables)

    model = base(*network())
    model.compile(CentralizedRMSprop(0.001, momentum=0.5), cross_entropy(), metrics=["accuracy"])
    return model


@program("none", arrays=labelled_images)
def sharpness_aware(base):
    class SAMModel(base):
        def __init__(self, resnet_model, rho=0.05):
            super().__init__()
            self.resnet_model = resnet_model
            self.rho = rho

        def train_step(self, data):
            images, labels = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=labels, y_pred=self.resnet_model(images, training=True))
            variables = self.resnet_model.trainable_variables
            gradients = tape.gradient(loss, variables)
            scale = self.rho / (tf.linalg.global_norm(gradients) + 1e-12)
            steps = [gradient * scale for gradient in gradients]
            for variable, step in zip(variables, steps, strict=True):
                variable.assign_add(step)
            with tf.GradientTape() as tape:
                predictions = self.resnet_model(images, training=True)
                loss = self.compute_loss(y=labels, y_pred=predictions)
            gradients = tape.gradient(loss, variables)
            for variable, step in zip(variables, steps, strict=True):
                variable.assign_sub(step)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(labels, predictions)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, data):
            images, labels = data
            return self.compute_metrics(images, labels, self.resnet_model(images, training=False))

    model = SAMModel(keras.Model(*network(normalized=True)))
    model.compile(optimizer="adam", loss=cross_entropy(), metrics=["accuracy"])
    return model


@program("none", arrays=labelled_images)
def gradient_accumulation(base):
    class Accumulating(base):
        def __init__(self, n_gradients, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.n_gradients = tf.constant(n_gradients)
            self.n_acum_step = tf.Variable(0, trainable=False)
            self.gradient_accumulation = [
                tf.Variable(tf.zeros_like(v), trainable=False) for v in self.trainable_variables
            ]

        def train_step(self, data):
            self.n_acum_step.assign_add(1)
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            for held, gradient in zip(self.gradient_accumulation, gradients, strict=True):
                held.assign_add(gradient)
            is_due = tf.equal(self.n_acum_step, self.n_gradients)
            tf.cond(is_due, self.apply_accumulated, lambda: None)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

        def apply_accumulated(self):
            pairs = zip(self.gradient_accumulation, self.trainable_variables, strict=True)
            self.optimizer.apply_gradients([(tf.identity(g), v) for g, v in pairs])
            self.n_acum_step.assign(0)
            for held in self.gradient_accumulation:
                held.assign(tf.zeros_like(held))

    inputs, outputs = network()
    model = Accumulating(n_gradients=4, inputs=inputs, outputs=outputs)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss=cross_entropy(), metrics=["accuracy"])
    return model
