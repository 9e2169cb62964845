"""Images from images."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import images, two_domains
from tests.programs.program import program


def small_and_large():
    """Images and the same images at half the size."""
    large = images()
    return large[:, ::2, ::2], large


@program("none", arrays=small_and_large)
def super_resolution(base):
    def psnr(high_resolution, super_resolved):
        return tf.image.psnr(high_resolution, super_resolved, max_val=1)

    class EDSR(base):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            trainable_vars = self.trainable_variables
            gradients = tape.gradient(loss, trainable_vars)
            self.optimizer.apply_gradients(zip(gradients, trainable_vars, strict=True))
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

        def predict_step(self, x):
            return tf.clip_by_value(self(x, training=False), 0, 1)

    inputs = layers.Input((4, 4, 2))
    x = first = layers.Conv2D(4, 3, padding="same")(inputs)
    for _ in range(2):
        hidden = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = layers.Add()([layers.Conv2D(4, 3, padding="same")(hidden), x])
    x = layers.Conv2D(8, 3, padding="same")(layers.Add()([first, x]))
    model = EDSR(inputs, layers.Lambda(lambda x: tf.nn.depth_to_space(x, 2))(x))
    rates = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries=[5], values=[1e-3, 5e-4])
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=rates), loss="mae", metrics=[psnr])
    return model


class MirrorPad(layers.Layer):
    def call(self, x):
        return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")


@program("none", arrays=two_domains)
def style_transfer(base):
    def mean_and_deviation(x):
        mean, variance = tf.nn.moments(x, axes=[1, 2], keepdims=True)
        return mean, tf.sqrt(variance + 1e-5)

    class NeuralStyleTransfer(base):
        def __init__(self, encoder, decoder, loss_net, style_weight, **kwargs):
            super().__init__(**kwargs)
            self.encoder = encoder
            self.decoder = decoder
            self.loss_net = loss_net
            self.style_weight = style_weight

        def compile(self, optimizer, loss_fn):
            super().compile()
            self.optimizer = optimizer
            self.loss_fn = loss_fn
            self.style_loss_tracker = keras.metrics.Mean(name="style_loss")
            self.content_loss_tracker = keras.metrics.Mean(name="content_loss")

        def train_step(self, inputs):
            style, content = inputs
            mean, deviation = mean_and_deviation(self.encoder(style))
            encoded = self.encoder(content)
            own_mean, own_deviation = mean_and_deviation(encoded)
            t = (encoded - own_mean) / own_deviation * deviation + mean
            with tf.GradientTape() as tape:
                made = self.decoder(t)
                content_loss = self.loss_fn(t, self.encoder(made))
                style_loss = 0.0
                wanted = self.loss_net(style)
                for one, other in zip(wanted, self.loss_net(made), strict=True):
                    pairs = zip(mean_and_deviation(one), mean_and_deviation(other), strict=True)
                    style_loss += tf.add_n([self.loss_fn(*pair) for pair in pairs])
                loss = content_loss + self.style_weight * style_loss
            trainable_vars = self.decoder.trainable_variables
            gradients = tape.gradient(loss, trainable_vars)
            self.optimizer.apply_gradients(zip(gradients, trainable_vars, strict=True))
            self.style_loss_tracker.update_state(style_loss)
            self.content_loss_tracker.update_state(content_loss)
            return {m.name: m.result() for m in self.metrics}

        @property
        def metrics(self):
            return [self.style_loss_tracker, self.content_loss_tracker]

    image = keras.Input((8, 8, 2))
    shallow = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    deep = layers.Conv2D(6, 3, padding="same", activation="relu")(shallow)
    encoder, loss_net = keras.Model(image, deep), keras.Model(image, [shallow, deep])
    encoder.trainable = loss_net.trainable = False
    stack = [MirrorPad(), layers.Conv2D(4, 3, activation="relu"), MirrorPad(), layers.Conv2D(2, 3)]
    decoder = keras.Sequential([keras.Input((8, 8, 6)), *stack])
    model = NeuralStyleTransfer(encoder, decoder, loss_net=loss_net, style_weight=4.0)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        loss_fn=keras.losses.MeanSquaredError(),
    )
    return model
