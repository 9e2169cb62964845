"""A variational autoencoder: two networks, a custom loss and random draws.

    python examples/vae.py --logdir=logs/vae

The model has no `call`: its train_step and test_step use the encoder and the decoder. A resumed run
draws the same noise as an uninterrupted one. At the end the decoder draws new digits into
samples.png in the logdir.
"""

import argparse
import pathlib

import keras
import tensorflow as tf
from keras import layers, ops

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.callbacks.tensorboard.drawing import gray, grid
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load

LATENT = 16


class VAE(TapeModel):
    """An encoder to means and log variances of latent codes, and a decoder from codes to logits."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        # The model holds it, so a checkpoint has its state.
        self.seed_generator = keras.random.SeedGenerator(1)
        names = ("loss", "reconstruction_loss", "kl_loss")
        self.means = {name: keras.metrics.Mean(name) for name in names}

    def losses_of(self, images):
        """The negative evidence lower bound of each image and its two terms, in nats, (n,)."""
        mean, log_variance = ops.split(self.encoder(images), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        logits = self.decoder(mean + ops.exp(log_variance / 2) * noise)
        errors = ops.binary_crossentropy(images, logits, from_logits=True)
        reconstruction = ops.sum(errors, axis=(1, 2))
        divergences = ops.square(mean) + ops.exp(log_variance) - 1 - log_variance
        kl = ops.sum(divergences, axis=-1) / 2
        return {"loss": reconstruction + kl, "reconstruction_loss": reconstruction, "kl_loss": kl}

    def train_step(self, images):
        with tf.GradientTape() as tape:
            losses = self.losses_of(images)
            loss = ops.mean(losses["loss"])
        gradients = tape.gradient(loss, self.trainable_weights)
        self.record_step(loss=loss, gradients=gradients)  # Logged at this step, with its norm.
        self.optimizer.apply(gradients, self.trainable_weights)
        return self.means_with(losses)

    def test_step(self, images):
        return self.means_with(self.losses_of(images))

    def means_with(self, losses):
        """The means over the epoch so far, including these losses."""
        for name, mean in self.means.items():
            mean.update_state(losses[name])
        return {name: mean.result() for name, mean in self.means.items()}

    def sample(self, count):
        """New images, (count, 28, 28) in [0, 1]."""
        codes = keras.random.normal((count, LATENT), seed=self.seed_generator)
        return ops.convert_to_numpy(ops.sigmoid(self.decoder(codes)))


def encoder():
    hidden = [layers.Dense(512, "relu"), layers.Dense(256, "relu")]
    return keras.Sequential(
        [keras.Input((28, 28)), layers.Flatten(), *hidden, layers.Dense(2 * LATENT)]
    )


def decoder():
    hidden = [layers.Dense(256, "relu"), layers.Dense(512, "relu")]
    return keras.Sequential(
        [keras.Input((LATENT,)), *hidden, layers.Dense(28 * 28), layers.Reshape((28, 28))]
    )


def batches(images, *, shuffle):
    """Batches of 100 float images in [0, 1]."""
    # Shuffling row numbers is fast, and their buffer is small in a checkpoint.
    rows = tf.data.Dataset.range(len(images))
    if shuffle:
        rows = rows.shuffle(len(images), seed=0)
    images = tf.constant(images)
    return rows.batch(100).map(lambda rows: tf.cast(tf.gather(images, rows), tf.float32) / 255)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/vae")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--examples", type=int, help="training images to use; default: all")
    arguments = parser.parse_args()
    logdir, examples = arguments.logdir, arguments.examples

    keras.utils.set_random_seed(0)
    train, test = load("auto")
    model = VAE(encoder(), decoder())
    model.compile(keras.optimizers.Adam(0.001))
    model.fit(
        batches(train.images[:examples], shuffle=True),
        epochs=arguments.epochs,
        shuffle=False,  # The pipeline shuffles.
        verbose=0,
        callbacks=[StepLogger(logdir), Checkpoint(f"{logdir}/checkpoints"), GracefulShutdown()],
    )
    grid(gray(model.sample(64)), columns=8).save(pathlib.Path(logdir, "samples.png"))
    scores = model.evaluate(batches(test.images, shuffle=False), verbose=0, return_dict=True)
    print(f"negative evidence lower bound of the test images: {scores['loss']:.4f} nats")


if __name__ == "__main__":
    main()
