"""Denoising diffusion: a network, a moving average of its weights, and a sampler.

    python examples/diffusion.py --logdir=logs/diffusion

At the end it turns noise into new digits, samples.png in the logdir.
"""

import argparse
import math
import pathlib

import keras
import tensorflow as tf
from keras import layers, ops

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.callbacks.tensorboard.drawing import gray, grid
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load


class Diffusion(TapeModel):
    """A network that restores noisy images (Ho et al., 2020), and its average (EMA) for samples."""

    def __init__(self, network, *, decay=0.995):
        super().__init__()
        self.network = network
        self.average_network = keras.models.clone_model(network)
        self.average_network.set_weights(network.get_weights())
        self.average_network.trainable = False
        self.decay = decay
        # The model holds it, so a checkpoint has its state.
        self.seed_generator = keras.random.SeedGenerator(1)
        self.mean_loss = keras.metrics.Mean("loss")

    def loss_of(self, network, images):
        """The mean squared error of the restored pixels, at random times."""
        times = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), seed=self.seed_generator)
        noise = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        signal_rate, noise_rate = rates(times)
        restored = network([signal_rate * images + noise_rate * noise, times])
        return ops.mean(ops.square(images - restored))

    def train_step(self, images):
        with tf.GradientTape() as tape:
            loss = self.loss_of(self.network, images)
        weights = self.network.trainable_weights
        gradients = tape.gradient(loss, weights)
        self.record_step(loss=loss, gradients=gradients)  # Logged at this step, with its norm.
        self.optimizer.apply(gradients, weights)
        for average, weight in zip(self.average_network.weights, self.network.weights, strict=True):
            average.assign(self.decay * average + (1 - self.decay) * weight)
        self.mean_loss.update_state(loss)
        return {"loss": self.mean_loss.result()}

    def test_step(self, images):
        self.mean_loss.update_state(self.loss_of(self.average_network, images))
        return {"loss": self.mean_loss.result()}

    def sample(self, count, *, steps=50):
        """New images, (count, 28, 28, 1) in [-1, 1], by DDIM (Song et al., 2021)."""
        network = tf.function(self.average_network)
        noisy = keras.random.normal((count, 28, 28, 1), seed=self.seed_generator)
        for step in range(steps, 0, -1):
            times = ops.full((count, 1, 1, 1), step / steps)
            signal_rate, noise_rate = rates(times)
            images = network([noisy, times])
            noise = (noisy - signal_rate * images) / noise_rate
            signal_rate, noise_rate = rates(times - 1 / steps)
            noisy = signal_rate * images + noise_rate * noise
        return ops.convert_to_numpy(images)


def rates(times):
    """The shares of image and noise at times from 0 (only image) to 1 (only noise)."""
    return ops.cos(times * math.pi / 2), ops.sin(times * math.pi / 2)


def network():
    """A small U-Net: noisy images and times in, images out."""
    images, times = keras.Input((28, 28, 1)), keras.Input((1, 1, 1))
    angles = times * (math.pi * 2.0 ** ops.arange(6, dtype="float32"))
    embedded = layers.Dense(128, "swish")(ops.concatenate([ops.sin(angles), ops.cos(angles)], -1))

    def block(x, width):
        hidden = layers.GroupNormalization(8)(layers.Conv2D(width, 3, padding="same")(x))
        hidden = ops.swish(hidden + layers.Dense(width)(embedded))
        return x + layers.Conv2D(width, 3, padding="same")(hidden)

    large = block(layers.Conv2D(32, 4, strides=2, padding="same")(images), 32)
    small = block(layers.Conv2D(64, 4, strides=2, padding="same")(large), 64)
    places = layers.Reshape((7 * 7, 64))(layers.GroupNormalization(8)(small))
    attended = layers.MultiHeadAttention(num_heads=4, key_dim=16)(places, places)
    small = small + layers.Reshape((7, 7, 64))(attended)
    large = large + layers.Conv2DTranspose(32, 4, strides=2, padding="same")(small)
    restored = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh")
    return keras.Model([images, times], restored(ops.swish(block(large, 32))))


def batches(images, *, shuffle):
    """Batches of 100 float images in [-1, 1]."""
    # Shuffling row numbers is fast, and their buffer is small in a checkpoint.
    rows = tf.data.Dataset.range(len(images))
    if shuffle:
        rows = rows.shuffle(len(images), seed=0)
    images = tf.constant(images[..., None])
    return rows.batch(100).map(
        lambda rows: tf.cast(tf.gather(images, rows), tf.float32) / 127.5 - 1
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/diffusion")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--examples", type=int, help="training images to use; default: all")
    arguments = parser.parse_args()
    logdir, examples = arguments.logdir, arguments.examples

    keras.utils.set_random_seed(0)
    train, test = load("auto")
    model = Diffusion(network())
    model.compile(keras.optimizers.Adam(0.002))
    model.fit(
        batches(train.images[:examples], shuffle=True),
        epochs=arguments.epochs,
        shuffle=False,  # The pipeline shuffles.
        verbose=0,
        callbacks=[StepLogger(logdir), Checkpoint(f"{logdir}/checkpoints"), GracefulShutdown()],
    )
    samples = (model.sample(64) + 1) / 2
    grid(gray(samples), columns=8).save(pathlib.Path(logdir, "samples.png"))
    scores = model.evaluate(batches(test.images, shuffle=False), verbose=0, return_dict=True)
    print(f"mean squared error of the restored test images: {scores['loss']:.4f}")


if __name__ == "__main__":
    main()
