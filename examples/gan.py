"""A generative adversarial network: two networks, two optimizers, custom compile and step.

    python examples/gan.py --logdir=logs/gan

Both losses are logged at each step, with the learning rate and gradient norm of each optimizer.
After each epoch TensorBoard shows what the generator draws. At the end it draws new digits,
samples.png in the logdir.
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, EventCallback, GracefulShutdown, StepLogger
from mnist_keras.callbacks.tensorboard.drawing import gray, grid
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load

LATENT = 64


class GAN(TapeModel):
    """A generator of images, and a discriminator that gives a logit: is the image real?"""

    def __init__(self, generator, discriminator):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        # The model holds it, so a checkpoint has its state.
        self.seed_generator = keras.random.SeedGenerator(1)
        self.d_loss = keras.metrics.Mean("d_loss")
        self.g_loss = keras.metrics.Mean("g_loss")

    def compile(self, *, d_optimizer, g_optimizer, **arguments):
        super().compile(optimizer=g_optimizer, **arguments)
        self.d_optimizer = d_optimizer

    def train_step(self, real):
        noise = keras.random.normal((ops.shape(real)[0], LATENT), seed=self.seed_generator)
        with tf.GradientTape(persistent=True) as tape:
            fake_logits = self.discriminator(self.generator(noise, training=True), training=True)
            real_logits = self.discriminator(real, training=True)
            # Cross entropies from logits; the generator's does not saturate.
            d_loss = ops.mean(ops.softplus(-real_logits) + ops.softplus(fake_logits))
            g_loss = ops.mean(ops.softplus(-fake_logits))
        d_weights = self.discriminator.trainable_weights
        g_weights = self.generator.trainable_weights
        d_gradients = tape.gradient(d_loss, d_weights)
        g_gradients = tape.gradient(g_loss, g_weights)
        self.d_optimizer.apply(d_gradients, d_weights)
        self.optimizer.apply(g_gradients, g_weights)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}

    def sample(self, count):
        """New images, (count, 28, 28, 1) in [0, 1]."""
        noise = keras.random.normal((count, LATENT), seed=self.seed_generator)
        return ops.convert_to_numpy(self.generator(noise, training=False))


class Samples(EventCallback):
    """Logs what the generator makes of the same noise after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        # With a number as the seed, no state of the training changes.
        noise = keras.random.normal((64, LATENT), seed=0)
        self.log_images("samples", self.model.generator(noise, training=False))


def generator():
    upsampling = {"strides": 2, "padding": "same"}
    return keras.Sequential(
        [
            keras.Input((LATENT,)),
            layers.Dense(7 * 7 * 64, "relu"),
            layers.BatchNormalization(),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(32, 4, activation="relu", **upsampling),
            layers.BatchNormalization(),
            layers.Conv2DTranspose(1, 4, activation="sigmoid", **upsampling),
        ]
    )


def discriminator():
    downsampling = {"strides": 2, "padding": "same", "activation": "leaky_relu"}
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 4, **downsampling),
            layers.Conv2D(64, 4, **downsampling),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )


def batches(images):
    """Shuffled batches of 100 float images in [0, 1]."""
    # Shuffling row numbers is fast, and their buffer is small in a checkpoint.
    rows = tf.data.Dataset.range(len(images)).shuffle(len(images), seed=0)
    images = tf.constant(images[..., None])
    return rows.batch(100).map(lambda rows: tf.cast(tf.gather(images, rows), tf.float32) / 255)


def squared_distances(some, others):
    """The squared distances between two arrays of flat images, (some, others)."""
    return np.sum(some**2, axis=1)[:, None] - 2 * some @ others.T + np.sum(others**2, axis=1)


def coverage(real, samples, *, neighbours=5):
    """The share of real images that have a sample near them (Naeem et al., 2020).

    A sample is near if it is closer than the image's neighbours among the other real images.
    """
    real, samples = (np.reshape(images, (len(images), -1)) for images in (real, samples))
    nearest = np.sort(squared_distances(real, real), axis=1)  # Column 0 is the image itself.
    return np.mean(squared_distances(real, samples).min(axis=1) < nearest[:, neighbours])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/gan")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--examples", type=int, help="training images to use; default: all")
    arguments = parser.parse_args()
    logdir, examples = arguments.logdir, arguments.examples

    keras.utils.set_random_seed(0)
    train, test = load("auto")
    model = GAN(generator(), discriminator())
    model.compile(
        d_optimizer=keras.optimizers.Adam(0.0002, beta_1=0.5),
        g_optimizer=keras.optimizers.Adam(0.0005, beta_1=0.5),
    )
    model.fit(
        batches(train.images[:examples]),
        epochs=arguments.epochs,
        shuffle=False,  # The pipeline shuffles.
        verbose=0,
        callbacks=[
            StepLogger(logdir),
            Samples(logdir),
            Checkpoint(f"{logdir}/checkpoints"),
            GracefulShutdown(),
        ],
    )
    samples, real = model.sample(1000), test.images[:1000] / np.float32(255)
    grid(gray(samples[:64]), columns=8).save(pathlib.Path(logdir, "samples.png"))
    print(f"coverage of the test digits: {coverage(real, samples):.4f}")


if __name__ == "__main__":
    main()
