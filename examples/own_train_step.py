"""Your own train_step: adversarial training, with exact logs, checkpoints and resume.

    python examples/own_train_step.py --logdir=logs/own_train_step

Each batch is changed a little in the direction that increases the loss, and the network learns from
both batches. Run it again with more --epochs, and it resumes from the last checkpoint.
"""

import argparse

import keras
import tensorflow as tf

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import batches, load


class Adversarial(TapeModel):
    """A `TapeModel` that also learns from adversarial images (fast gradient sign)."""

    step_size = 0.1

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        harder = tf.clip_by_value(x + self.step_size * tf.sign(tape.gradient(loss, x)), 0.0, 1.0)

        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            clean = self.compute_loss(x=x, y=y, y_pred=y_pred)
            attacked = self.compute_loss(x=x, y=y, y_pred=self(harder, training=True))
            loss = (clean + attacked) / 2
        gradients = tape.gradient(loss, self.trainable_weights)
        self.record_step(loss=loss, gradients=gradients)  # Logged at this step, with its norm.
        self.optimizer.apply(gradients, self.trainable_weights)
        metrics = self.compute_metrics(x, y, y_pred)
        return {**metrics, "loss": loss, "attacked_loss": attacked}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/own_train_step")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    train, test = load("auto")
    layers = [keras.layers.Flatten(), keras.layers.Dense(128, "relu"), keras.layers.Dense(10)]
    model = Adversarial(keras.Sequential([keras.Input((28, 28)), *layers]))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(
        batches(train.images, train.labels, batch_size=100),
        epochs=arguments.epochs,
        verbose=0,
        callbacks=[
            StepLogger(arguments.logdir),
            Checkpoint(f"{arguments.logdir}/checkpoints"),
            GracefulShutdown(),
        ],
    )
    scores = model.evaluate(
        batches(test.images, test.labels, batch_size=100), verbose=0, return_dict=True
    )
    print(f"test accuracy: {scores['accuracy']:.4f}")


if __name__ == "__main__":
    main()
