"""Classifiers whose step mixes its examples or calls the network twice."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import classes, images, labelled_images, one_hot
from tests.programs.program import program


def classifier(*, dropout=0.0):
    return [
        layers.Conv2D(4, 3, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dropout(dropout),
        layers.Dense(3),
    ]


def one_hot_labels():
    return images(), one_hot(classes(3), 3)


@program("stateless", arrays=one_hot_labels)
def mixup(base):
    class MixUp(base):
        def __init__(self, network, alpha=0.4):
            super().__init__()
            self.classifier = network
            self.alpha = alpha

        def call(self, x):
            return self.classifier(x)

        def shares(self, count):
            step = tf.cast(self.optimizer.iterations, tf.int32)
            one = tf.random.stateless_gamma([count], seed=[step, 1], alpha=self.alpha)
            other = tf.random.stateless_gamma([count], seed=[step, 2], alpha=self.alpha)
            return one / (one + other + 1e-7)

        def train_step(self, data):
            x, y = data
            share = self.shares(tf.shape(x)[0])
            across = share[:, None, None, None]
            x = across * x + (1 - across) * x[::-1]
            y = share[:, None] * y + (1 - share[:, None]) * y[::-1]
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    model = MixUp(keras.Sequential(classifier()))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


@program("tf_generator", arrays=one_hot_labels)
def cutmix(base):
    class CutMix(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.generator = tf.random.Generator.from_seed(7)

        def cut(self, x, y):
            share = self.generator.uniform(())
            side = tf.cast(8 * tf.sqrt(1 - share), tf.int32)
            top, left = tf.unstack(self.generator.uniform((2,), maxval=8, dtype=tf.int32))
            rows, columns = tf.range(8)[:, None] - top, tf.range(8)[None] - left
            inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
            inside = tf.cast(inside, tf.float32)
            pasted = tf.reduce_mean(inside)
            inside = inside[None, :, :, None]
            return x * (1 - inside) + x[::-1] * inside, y * (1 - pasted) + y[::-1] * pasted

        def train_step(self, data):
            return super().train_step(self.cut(*data))

    inputs = outputs = keras.Input((8, 8, 2))
    for layer in classifier():
        outputs = layer(outputs)
    model = CutMix(inputs, outputs)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(optimizer=keras.optimizers.Adamax(0.01), loss=loss, metrics=["accuracy"])
    return model


@program("seed_generator", arrays=labelled_images)
def r_drop(base):
    class RDrop(base):
        def __init__(self, layer_list, alpha=1.0, name="r_drop"):
            super().__init__(name=name)
            self.layer_list = layer_list
            self.alpha = alpha
            self.loss_tracker = keras.metrics.Mean(name="loss")
            self.kl_tracker = keras.metrics.Mean(name="kl")

        @property
        def metrics(self):
            return [self.loss_tracker, self.kl_tracker]

        def call(self, x, training=False):
            for layer in self.layer_list:
                x = layer(x, training=training) if isinstance(layer, layers.Dropout) else layer(x)
            return x

        def train_step(self, data):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                one, other = self(x, training=True), self(x, training=True)
                log_one, log_other = tf.nn.log_softmax(one), tf.nn.log_softmax(other)
                apart = (tf.exp(log_one) - tf.exp(log_other)) * (log_one - log_other)
                kl = tf.reduce_mean(tf.reduce_sum(apart, axis=-1)) / 2
                loss = self.compute_loss(x, y, one, sample_weight)
                loss += self.compute_loss(x, y, other, sample_weight) + self.alpha * kl
            gradients = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
            self.loss_tracker.update_state(loss)
            self.kl_tracker.update_state(kl)
            return {m.name: m.result() for m in self.metrics}

    model = RDrop(classifier(dropout=0.3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(clipnorm=1.0), loss=loss)
    return model
