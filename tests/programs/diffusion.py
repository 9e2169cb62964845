"""Denoising diffusion: a network, and a moving average of it."""

import keras
import tensorflow as tf
from keras import layers, ops

from tests.programs.arrays import images_alone
from tests.programs.program import program


def denoiser(levels):
    """A network of (noisy images, noise levels)."""
    images, level = keras.Input((8, 8, 2)), keras.Input(levels)
    wide = layers.UpSampling2D(8)(layers.Reshape((1, 1, 1))(level))
    hidden = layers.Concatenate()([layers.Conv2D(4, 1)(images), wide])
    hidden = layers.BatchNormalization(center=False, scale=False)(hidden)
    hidden = layers.Conv2D(4, 3, padding="same", activation="swish")(hidden)
    outputs = layers.Conv2D(2, 1, kernel_initializer="zeros")(hidden)
    return keras.Model([images, level], outputs)


@program("keras_global", arrays=images_alone)
def ddim(base):
    class DiffusionModel(base):
        def __init__(self, image_size, ema):
            super().__init__()
            self.image_size = image_size
            self.ema = ema
            self.normalizer = layers.Normalization()
            self.network = denoiser((1, 1, 1))
            self.ema_network = keras.models.clone_model(self.network)

        def compile(self, **kwargs):
            super().compile(**kwargs)
            self.noise_loss_tracker = keras.metrics.Mean(name="n_loss")
            self.image_loss_tracker = keras.metrics.Mean(name="i_loss")

        @property
        def metrics(self):
            return [self.noise_loss_tracker, self.image_loss_tracker]

        def noisy(self, images):
            """Images with noise added, the noise, and the rates of both."""
            noises = keras.random.normal(ops.shape(images))
            times = keras.random.uniform((ops.shape(images)[0], 1, 1, 1))
            angles = ops.arccos(0.95) + times * (ops.arccos(0.02) - ops.arccos(0.95))
            signal_rates, noise_rates = ops.cos(angles), ops.sin(angles)
            return signal_rates * images + noise_rates * noises, noises, signal_rates, noise_rates

        def update(self, network, images, training):
            noisy, noises, signal_rates, noise_rates = self.noisy(images)
            predicted = network([noisy, noise_rates**2], training=training)
            restored = (noisy - noise_rates * predicted) / signal_rates
            return self.loss(noises, predicted), self.loss(images, restored)

        def train_step(self, images):
            images = self.normalizer(images)
            with tf.GradientTape() as tape:
                noise_loss, image_loss = self.update(self.network, images, training=True)
            weights = self.network.trainable_weights
            gradients = tape.gradient(noise_loss, weights)
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
            self.noise_loss_tracker.update_state(noise_loss)
            self.image_loss_tracker.update_state(image_loss)
            pairs = zip(self.network.weights, self.ema_network.weights, strict=True)
            for weight, average in pairs:
                average.assign(self.ema * average + (1 - self.ema) * weight)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, images):
            losses = self.update(self.ema_network, self.normalizer(images), training=False)
            for tracker, loss in zip(self.metrics, losses, strict=True):
                tracker.update_state(loss)
            return {m.name: m.result() for m in self.metrics}

    model = DiffusionModel(8, ema=0.9)
    model.normalizer.adapt(*images_alone())
    optimizer = keras.optimizers.AdamW(0.001, weight_decay=0.0001)
    model.compile(optimizer=optimizer, loss=keras.losses.MeanAbsoluteError())
    return model


@program("tf_global", arrays=images_alone)
def ddpm(base):
    class GaussianDiffusion:
        def __init__(self, timesteps):
            kept = tf.math.cumprod(1.0 - tf.linspace(0.0001, 0.02, timesteps))
            self.sqrt_kept, self.sqrt_lost = tf.sqrt(kept), tf.sqrt(1.0 - kept)

        def q_sample(self, images, t, noise):
            kept, lost = tf.gather(self.sqrt_kept, t), tf.gather(self.sqrt_lost, t)
            return kept[:, None, None, None] * images + lost[:, None, None, None] * noise

    class DiffusionModel(base):
        def __init__(self, network, ema_network, timesteps, gdf_util, ema=0.9):
            super().__init__()
            self.network = network
            self.ema_network = ema_network
            self.timesteps = timesteps
            self.gdf_util = gdf_util
            self.ema = ema

        def train_step(self, images):
            count = tf.shape(images)[0]
            t = tf.random.uniform((count,), maxval=self.timesteps, dtype=tf.int64)
            with tf.GradientTape() as tape:
                noise = tf.random.normal(tf.shape(images), dtype=images.dtype)
                noisy = self.gdf_util.q_sample(images, t, noise)
                level = tf.cast(t, tf.float32)[:, None] / self.timesteps
                loss = self.loss(noise, self.network([noisy, level], training=True))
            gradients = tape.gradient(loss, self.network.trainable_weights)
            pairs = zip(gradients, self.network.trainable_weights, strict=True)
            self.optimizer.apply_gradients(pairs)
            pairs = zip(self.network.weights, self.ema_network.weights, strict=True)
            for weight, average in pairs:
                average.assign(self.ema * average + (1 - self.ema) * weight)
            return {"loss": loss}

    network, ema_network = denoiser((1,)), denoiser((1,))
    ema_network.set_weights(network.get_weights())
    model = DiffusionModel(network, ema_network, 20, gdf_util=GaussianDiffusion(20))
    model.compile(
        loss=keras.losses.MeanSquaredError(), optimizer=keras.optimizers.Adam(learning_rate=0.002)
    )
    return model
