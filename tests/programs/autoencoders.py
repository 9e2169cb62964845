"""Autoencoders: variational, vector-quantized, masked, and one whose call adds its losses."""

import keras
import tensorflow as tf
from keras import layers, ops

from tests.programs.arrays import images_alone
from tests.programs.program import program


def decoder(inputs):
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            layers.Dense(4 * 4 * 4, activation="relu"),
            layers.Reshape((4, 4, 4)),
            layers.Conv2DTranspose(2, 3, strides=2, padding="same", activation="sigmoid"),
        ],
        name="decoder",
    )


@program("seed_generator", arrays=images_alone)
def vae(base):
    class Sampling(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seed_generator = keras.random.SeedGenerator(1337)

        def call(self, inputs):
            mean, log_variance = inputs
            noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
            return mean + ops.exp(0.5 * log_variance) * noise

    class VAE(base):
        def __init__(self, encoder, decoder, **kwargs):
            super().__init__(**kwargs)
            self.encoder = encoder
            self.decoder = decoder
            self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
            self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
            self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

        @property
        def metrics(self):
            return [
                self.total_loss_tracker,
                self.reconstruction_loss_tracker,
                self.kl_loss_tracker,
            ]

        def train_step(self, data):
            if isinstance(data, tuple):
                data = data[0]
            with tf.GradientTape() as tape:
                mean, log_variance, code = self.encoder(data)
                error = keras.losses.binary_crossentropy(data, self.decoder(code))
                reconstruction_loss = ops.mean(ops.sum(error, axis=(1, 2)))
                divergence = 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1 - log_variance)
                kl_loss = ops.mean(ops.sum(divergence, axis=1))
                total_loss = reconstruction_loss + kl_loss
            gradients = tape.gradient(total_loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
            self.total_loss_tracker.update_state(total_loss)
            self.reconstruction_loss_tracker.update_state(reconstruction_loss)
            self.kl_loss_tracker.update_state(kl_loss)
            return {
                "loss": self.total_loss_tracker.result(),
                "reconstruction_loss": self.reconstruction_loss_tracker.result(),
                "kl_loss": self.kl_loss_tracker.result(),
            }

    inputs = keras.Input((8, 8, 2))
    hidden = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    hidden = layers.Flatten()(hidden)
    mean, log_variance = layers.Dense(2)(hidden), layers.Dense(2)(hidden)
    code = Sampling()([mean, log_variance])
    model = VAE(keras.Model(inputs, [mean, log_variance, code], name="encoder"), decoder(2))
    model.compile(optimizer=keras.optimizers.Adam())
    return model


@program("none", arrays=images_alone)
def vq_vae(base):
    class VectorQuantizer(layers.Layer):
        def __init__(self, count, width, beta=0.25, **kwargs):
            super().__init__(**kwargs)
            self.count, self.width, self.beta = count, width, beta
            self.embeddings = self.add_weight(shape=(width, count), initializer="random_uniform")

        def call(self, x):
            flat = tf.reshape(x, (-1, self.width))
            distances = tf.reduce_sum(self.embeddings**2, axis=0) - 2 * flat @ self.embeddings
            chosen = tf.one_hot(tf.argmin(distances, axis=1), self.count)
            quantized = tf.matmul(chosen, self.embeddings, transpose_b=True)
            quantized = tf.reshape(quantized, tf.shape(x))
            commitment = tf.reduce_mean((tf.stop_gradient(quantized) - x) ** 2)
            codebook = tf.reduce_mean((quantized - tf.stop_gradient(x)) ** 2)
            self.add_loss(self.beta * commitment + codebook)
            return x + tf.stop_gradient(quantized - x)

    class VQVAETrainer(base):
        def __init__(self, train_variance, latent_dim=4, num_embeddings=6, **kwargs):
            super().__init__(**kwargs)
            self.train_variance = train_variance
            self.vqvae = keras.Sequential(
                [
                    keras.Input((8, 8, 2)),
                    layers.Conv2D(latent_dim, 3, strides=2, padding="same"),
                    VectorQuantizer(num_embeddings, latent_dim, name="vector_quantizer"),
                    layers.Conv2DTranspose(2, 3, strides=2, padding="same"),
                ]
            )
            self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
            self.vq_loss_tracker = keras.metrics.Mean(name="vq_loss")

        @property
        def metrics(self):
            return [self.total_loss_tracker, self.vq_loss_tracker]

        def train_step(self, x):
            with tf.GradientTape() as tape:
                reconstructions = self.vqvae(x)
                error = tf.reduce_mean((x - reconstructions) ** 2) / self.train_variance
                total_loss = error + sum(self.vqvae.losses)
            gradients = tape.gradient(total_loss, self.vqvae.trainable_variables)
            pairs = zip(gradients, self.vqvae.trainable_variables, strict=True)
            self.optimizer.apply_gradients(pairs)
            self.total_loss_tracker.update_state(total_loss)
            self.vq_loss_tracker.update_state(sum(self.vqvae.losses))
            return {"loss": self.total_loss_tracker.result(), "vq": self.vq_loss_tracker.result()}

    model = VQVAETrainer(float(images_alone()[0].var()))
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    return model


@program("tf_global", "seed_generator", arrays=images_alone)
def masked_autoencoder(base):
    patches, area, width, masked = 4, 4 * 4 * 2, 8, 2

    class PatchEncoder(layers.Layer):
        def build(self, input_shape):
            self.mask_token = self.add_weight(shape=(1, 1, area), initializer="random_normal")
            self.projection = layers.Dense(width)
            self.projection.build((None, area))
            self.position_embedding = layers.Embedding(patches, width)
            self.position_embedding.build(None)

        def call(self, x):
            positions = self.position_embedding(tf.range(patches))[None]
            order = tf.argsort(tf.random.uniform((tf.shape(x)[0], patches)), axis=-1)
            embedded = self.projection(x) + positions
            hidden = self.projection(self.mask_token) + positions
            visible = tf.gather(embedded, order[:, masked:], axis=1, batch_dims=1)
            return visible, tf.gather(hidden[0], order[:, :masked]), order[:, :masked]

    class MaskedAutoencoder(base):
        def __init__(self, patch_encoder, encoder, decoder, **kwargs):
            super().__init__(**kwargs)
            self.patch_encoder = patch_encoder
            self.encoder = encoder
            self.decoder = decoder

        def calculate_loss(self, images, test=False):
            cut = tf.reshape(images, (-1, 2, 4, 2, 4, 2))
            cut = tf.reshape(tf.transpose(cut, (0, 1, 3, 2, 4, 5)), (-1, patches, area))
            visible, hidden, mask = self.patch_encoder(cut)
            encoded = self.encoder(visible, training=not test)
            decoded = self.decoder(tf.concat([hidden, encoded], axis=1))[:, :masked]
            target = tf.gather(cut, mask, axis=1, batch_dims=1)
            return self.compute_loss(y=target, y_pred=decoded), target, decoded

        def train_step(self, images):
            with tf.GradientTape() as tape:
                loss, target, decoded = self.calculate_loss(images)
            variables = [
                *self.patch_encoder.trainable_variables,
                *self.encoder.trainable_variables,
                *self.decoder.trainable_variables,
            ]
            gradients = tape.gradient(loss, variables)
            pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
            self.optimizer.apply_gradients(pairs)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(target, decoded)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, images):
            _, target, decoded = self.calculate_loss(images, test=True)
            return self.compute_metrics(images, target, decoded)

    tokens = keras.Input((patches - masked, width))
    normalized = layers.LayerNormalization()(tokens)
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(normalized, normalized)
    encoder = keras.Model(tokens, layers.Add()([tokens, attended]), name="encoder")
    flat = [layers.Flatten(), layers.Dense(patches * area), layers.Reshape((patches, area))]
    model = MaskedAutoencoder(
        PatchEncoder(), encoder, keras.Sequential([keras.Input((patches, width)), *flat])
    )
    model.compile(optimizer=keras.optimizers.AdamW(0.01), loss="mse", metrics=["mae"])
    return model


@program("seed_generator", arrays=images_alone)
def autoencoder_with_add_loss(base):
    class SparseAutoencoder(base):
        def __init__(self, width):
            super().__init__()
            self.noise = layers.GaussianNoise(0.1)
            self.encoder = layers.Dense(width, activation="relu", activity_regularizer="l1")
            self.decoder = layers.Dense(8 * 8 * 2, kernel_regularizer="l2")
            self.error = keras.metrics.MeanAbsoluteError(name="error")

        def call(self, x, training=None):
            flat = ops.reshape(x, (-1, 8 * 8 * 2))
            restored = self.decoder(self.encoder(self.noise(flat, training=training)))
            self.add_loss(ops.mean(ops.square(flat - restored)))
            self.error.update_state(flat, restored)
            return restored

    model = SparseAutoencoder(8)
    model.compile(optimizer="adam")
    return model
