"""Generative adversarial networks: two optimizers or four, and no call."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import images_alone, labelled_images, two_domains
from tests.programs.program import program

NOISE = 4


def generator(inputs=NOISE):
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            layers.Dense(4 * 4 * 4, use_bias=False),
            layers.BatchNormalization(scale=False),
            layers.ReLU(),
            layers.Reshape((4, 4, 4)),
            layers.Conv2DTranspose(2, 4, strides=2, padding="same", activation="sigmoid"),
        ],
        name="generator",
    )


def discriminator(channels=2, *, dropout=0.0):
    return keras.Sequential(
        [
            keras.Input((8, 8, channels)),
            layers.Conv2D(4, 3, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(1),
        ],
        name="discriminator",
    )


def adam():
    return keras.optimizers.Adam(0.002, beta_1=0.5)


@program("tf_global", arrays=images_alone)
def gan(base):
    class GAN(base):
        def __init__(self, discriminator, generator, latent_dim):
            super().__init__()
            self.discriminator = discriminator
            self.generator = generator
            self.latent_dim = latent_dim

        def compile(self, d_optimizer, g_optimizer, loss_fn):
            super().compile()
            self.d_optimizer = d_optimizer
            self.g_optimizer = g_optimizer
            self.loss_fn = loss_fn
            self.d_loss_metric = keras.metrics.Mean(name="d_loss")
            self.g_loss_metric = keras.metrics.Mean(name="g_loss")

        @property
        def metrics(self):
            return [self.d_loss_metric, self.g_loss_metric]

        def train_step(self, real):
            if isinstance(real, tuple):
                real = real[0]
            count = tf.shape(real)[0]
            fake = self.generator(tf.random.normal((count, self.latent_dim)))
            labels = tf.concat([tf.zeros((count, 1)), tf.ones((count, 1))], axis=0)
            labels += 0.05 * tf.random.uniform(tf.shape(labels))
            with tf.GradientTape() as tape:
                judged = self.discriminator(tf.concat([real, fake], axis=0))
                d_loss = self.loss_fn(labels, judged)
            weights = self.discriminator.trainable_weights
            gradients = tape.gradient(d_loss, weights)
            self.d_optimizer.apply_gradients(zip(gradients, weights, strict=True))

            noise = tf.random.normal((count, self.latent_dim))
            with tf.GradientTape() as tape:
                judged = self.discriminator(self.generator(noise, training=True))
                g_loss = self.loss_fn(tf.zeros((count, 1)), judged)
            weights = self.generator.trainable_weights
            gradients = tape.gradient(g_loss, weights)
            self.g_optimizer.apply_gradients(zip(gradients, weights, strict=True))

            self.d_loss_metric.update_state(d_loss)
            self.g_loss_metric.update_state(g_loss)
            return {m.name: m.result() for m in self.metrics}

    model = GAN(discriminator(), generator(), latent_dim=NOISE)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(d_optimizer=adam(), g_optimizer=adam(), loss_fn=loss)
    return model


@program("seed_generator", arrays=labelled_images)
def conditional_gan(base):
    class ConditionalGAN(base):
        def __init__(self, discriminator, generator, latent_dim, classes):
            super().__init__()
            self.discriminator = discriminator
            self.generator = generator
            self.latent_dim = latent_dim
            self.classes = classes
            self.seed_generator = keras.random.SeedGenerator(1337)
            self.gen_loss_tracker = keras.metrics.Mean(name="generator_loss")
            self.disc_loss_tracker = keras.metrics.Mean(name="discriminator_loss")

        @property
        def metrics(self):
            return [self.gen_loss_tracker, self.disc_loss_tracker]

        def compile(self, d_optimizer, g_optimizer, loss_fn):
            super().compile()
            self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

        def fakes(self, labels):
            shape = (keras.ops.shape(labels)[0], self.latent_dim)
            noise = keras.random.normal(shape, seed=self.seed_generator)
            return self.generator(keras.ops.concatenate([noise, labels], axis=1), training=True)

        def judged(self, images, labels):
            planes = keras.ops.ones_like(images[..., :1]) * labels[:, None, None, :]
            return self.discriminator(keras.ops.concatenate([images, planes], axis=-1))

        def train_step(self, data):
            images, labels = data
            labels = keras.ops.one_hot(labels, self.classes)
            with tf.GradientTape() as tape:
                real, fake = self.judged(images, labels), self.judged(self.fakes(labels), labels)
                zeros, ones = keras.ops.zeros_like(fake), keras.ops.ones_like(real)
                d_loss = self.loss_fn(ones, real) + self.loss_fn(zeros, fake)
            weights = self.discriminator.trainable_weights
            self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)
            with tf.GradientTape() as tape:
                g_loss = self.loss_fn(ones, self.judged(self.fakes(labels), labels))
            weights = self.generator.trainable_weights
            self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
            self.gen_loss_tracker.update_state(g_loss)
            self.disc_loss_tracker.update_state(d_loss)
            return {
                "g_loss": self.gen_loss_tracker.result(),
                "d_loss": self.disc_loss_tracker.result(),
            }

    model = ConditionalGAN(discriminator(2 + 3), generator(NOISE + 3), latent_dim=NOISE, classes=3)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(d_optimizer=adam(), g_optimizer=adam(), loss_fn=loss)
    return model


@program("tf_global", "seed_generator", arrays=images_alone)
def wgan_gp(base):
    class WGAN(base):
        def __init__(
            self, discriminator, generator, latent_dim, discriminator_extra_steps=2, gp_weight=10.0
        ):
            super().__init__()
            self.discriminator = discriminator
            self.generator = generator
            self.latent_dim = latent_dim
            self.d_steps = discriminator_extra_steps
            self.gp_weight = gp_weight

        def compile(self, d_optimizer, g_optimizer, d_loss_fn, g_loss_fn):
            super().compile()
            self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
            self.d_loss_fn, self.g_loss_fn = d_loss_fn, g_loss_fn

        def gradient_penalty(self, count, real, fake):
            share = tf.random.uniform((count, 1, 1, 1))
            between = real + share * (fake - real)
            with tf.GradientTape() as tape:
                tape.watch(between)
                judged = self.discriminator(between, training=True)
            norms = tf.norm(tf.reshape(tape.gradient(judged, between), (count, -1)), axis=1)
            return tf.reduce_mean((norms - 1.0) ** 2)

        def train_step(self, real):
            if isinstance(real, tuple):
                real = real[0]
            count = tf.shape(real)[0]
            for _ in range(self.d_steps):
                noise = tf.random.normal((count, self.latent_dim))
                with tf.GradientTape() as tape:
                    fake = self.generator(noise, training=True)
                    judged_fake = self.discriminator(fake, training=True)
                    judged_real = self.discriminator(real, training=True)
                    penalty = self.gradient_penalty(count, real, fake)
                    d_loss = self.d_loss_fn(judged_real, judged_fake) + self.gp_weight * penalty
                weights = self.discriminator.trainable_variables
                gradients = tape.gradient(d_loss, weights)
                self.d_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            noise = tf.random.normal((count, self.latent_dim))
            with tf.GradientTape() as tape:
                fake = self.generator(noise, training=True)
                g_loss = self.g_loss_fn(self.discriminator(fake, training=True))
            weights = self.generator.trainable_variables
            gradients = tape.gradient(g_loss, weights)
            self.g_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            return {"d_loss": d_loss, "g_loss": g_loss}

    model = WGAN(discriminator=discriminator(dropout=0.3), generator=generator(), latent_dim=NOISE)
    model.compile(
        d_optimizer=adam(),
        g_optimizer=adam(),
        d_loss_fn=lambda real, fake: tf.reduce_mean(fake) - tf.reduce_mean(real),
        g_loss_fn=lambda fake: -tf.reduce_mean(fake),
    )
    return model


@program("none", arrays=two_domains)
def cycle_gan(base):
    class CycleGan(base):
        def __init__(self, generator_G, generator_F, discriminator_X, discriminator_Y, cycle=10.0):
            super().__init__()
            self.gen_G, self.gen_F = generator_G, generator_F
            self.disc_X, self.disc_Y = discriminator_X, discriminator_Y
            self.cycle = cycle

        def compile(self, gen_G_optimizer, gen_F_optimizer, disc_X_optimizer, disc_Y_optimizer):
            super().compile()
            self.gen_G_optimizer, self.gen_F_optimizer = gen_G_optimizer, gen_F_optimizer
            self.disc_X_optimizer, self.disc_Y_optimizer = disc_X_optimizer, disc_Y_optimizer
            self.distance = keras.losses.MeanAbsoluteError()
            self.adversarial = keras.losses.MeanSquaredError()

        def generator_loss(self, judged, real, cycled, same):
            away = self.distance(real, cycled) + 0.5 * self.distance(real, same)
            return self.adversarial(tf.ones_like(judged), judged) + self.cycle * away

        def discriminator_loss(self, real, fake):
            ones, zeros = tf.ones_like(real), tf.zeros_like(fake)
            return 0.5 * (self.adversarial(ones, real) + self.adversarial(zeros, fake))

        def train_step(self, batch_data):
            real_x, real_y = batch_data
            with tf.GradientTape(persistent=True) as tape:
                fake_y, fake_x = self.gen_G(real_x), self.gen_F(real_y)
                cycled_x, cycled_y = self.gen_F(fake_y), self.gen_G(fake_x)
                same_x, same_y = self.gen_F(real_x), self.gen_G(real_y)
                judged_x, judged_y = self.disc_X(fake_x), self.disc_Y(fake_y)
                losses = {
                    "G_loss": self.generator_loss(judged_y, real_y, cycled_y, same_y),
                    "F_loss": self.generator_loss(judged_x, real_x, cycled_x, same_x),
                    "D_X_loss": self.discriminator_loss(self.disc_X(real_x), judged_x),
                    "D_Y_loss": self.discriminator_loss(self.disc_Y(real_y), judged_y),
                }
            parts = [
                (self.gen_G, self.gen_G_optimizer),
                (self.gen_F, self.gen_F_optimizer),
                (self.disc_X, self.disc_X_optimizer),
                (self.disc_Y, self.disc_Y_optimizer),
            ]
            for loss, (network, optimizer) in zip(losses.values(), parts, strict=True):
                weights = network.trainable_variables
                gradients = tape.gradient(loss, weights)
                optimizer.apply_gradients(zip(gradients, weights, strict=True))
            return losses

    def translator():
        hidden = layers.Conv2D(4, 3, padding="same", activation="relu")
        outputs = layers.Conv2D(2, 3, padding="same", activation="sigmoid")
        return keras.Sequential([keras.Input((8, 8, 2)), hidden, outputs])

    model = CycleGan(translator(), translator(), discriminator(), discriminator())
    model.compile(adam(), adam(), adam(), adam())
    return model


@program("tf_global", "seed_generator", arrays=images_alone)
def gan_with_adaptive_augmentation(base):
    class Augmenter(keras.Model):
        def __init__(self):
            super().__init__()
            self.probability = tf.Variable(0.5)
            moved = layers.RandomTranslation(0.2, 0.2, interpolation="nearest")
            flipped = layers.RandomFlip("horizontal")
            self.augmenter = keras.Sequential([keras.Input((8, 8, 2)), flipped, moved])

        def call(self, images, training):
            if not training:
                return images
            drawn = tf.random.uniform((tf.shape(images)[0], 1, 1, 1))
            augmented = self.augmenter(images, training=True)
            return tf.where(drawn < self.probability, augmented, images)

        def update(self, real_logits):
            error = tf.reduce_mean(0.5 + 0.5 * tf.sign(real_logits)) - 0.85
            self.probability.assign(tf.clip_by_value(self.probability + error / 20, 0.0, 1.0))

    class AdaptiveGAN(base):
        def __init__(self):
            super().__init__()
            self.augmenter = Augmenter()
            self.generator = generator()
            self.ema_generator = keras.models.clone_model(self.generator)
            self.discriminator = discriminator()

        def compile(self, generator_optimizer, discriminator_optimizer, **kwargs):
            super().compile(**kwargs)
            self.generator_optimizer = generator_optimizer
            self.discriminator_optimizer = discriminator_optimizer
            self.loss_tracker = keras.metrics.Mean(name="g_loss")
            self.real_accuracy = keras.metrics.BinaryAccuracy(name="real_acc", threshold=0.0)

        @property
        def metrics(self):
            return [self.loss_tracker, self.real_accuracy]

        def train_step(self, real):
            real = self.augmenter(real, training=True)
            with tf.GradientTape(persistent=True) as tape:
                fake = self.generator(tf.random.normal((tf.shape(real)[0], NOISE)), training=True)
                fake = self.discriminator(self.augmenter(fake, training=True), training=True)
                judged = self.discriminator(real, training=True)
                g_loss = tf.reduce_mean(tf.nn.softplus(-fake))
                d_loss = tf.reduce_mean(tf.nn.softplus(-judged) + tf.nn.softplus(fake))
            for loss, network, optimizer in (
                (g_loss, self.generator, self.generator_optimizer),
                (d_loss, self.discriminator, self.discriminator_optimizer),
            ):
                weights = network.trainable_weights
                optimizer.apply(tape.gradient(loss, weights), weights)
            self.augmenter.update(judged)
            pairs = zip(self.generator.weights, self.ema_generator.weights, strict=True)
            for weight, average in pairs:
                average.assign(0.9 * average + 0.1 * weight)
            self.loss_tracker.update_state(g_loss)
            self.real_accuracy.update_state(tf.ones_like(judged), judged)
            return {m.name: m.result() for m in self.metrics}

    model = AdaptiveGAN()
    model.compile(generator_optimizer=adam(), discriminator_optimizer=adam())
    return model
