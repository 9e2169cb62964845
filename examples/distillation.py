"""Knowledge distillation: a small network learns from the probabilities of a larger one.

    python examples/distillation.py --logdir=logs/distillation

The teacher is trained first, then frozen. Each of the two trainings has its own checkpoints, so an
interrupted run resumes in the right one.
"""

import argparse

import keras
import tensorflow as tf
from keras import layers, ops

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, StepLogger
from mnist_keras.console.argument_parser import local_path_argument
from mnist_keras.data import load


class Distiller(TapeModel):
    """A student that learns from labels and from a frozen teacher (Hinton et al., 2015).

    Only its loss differs: the train_step is TapeModel's.
    """

    def __init__(self, student, teacher, *, temperature=4.0, label_weight=0.1):
        super().__init__()
        self.student = student
        self.teacher = teacher
        self.teacher.trainable = False
        self.temperature = temperature
        self.label_weight = label_weight

    def call(self, inputs, training=None, mask=None):
        return self.student(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        taught = ops.softmax(self.teacher(x, training=False) / self.temperature)
        learned = ops.log_softmax(y_pred / self.temperature)
        cross_entropies = -ops.sum(taught * learned, axis=-1)
        # The temperature divides the gradients by its square.
        distillation_loss = ops.mean(cross_entropies) * self.temperature**2
        return self.label_weight * loss + (1 - self.label_weight) * distillation_loss


def teacher():
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(32, 5, strides=2, activation="relu"),
            layers.Conv2D(64, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(128, "relu"),
            layers.Dense(10),
        ]
    )


def student():
    return keras.Sequential(
        [keras.Input((28, 28)), layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(10)]
    )


def batches(images, labels, *, shuffle):
    """Batches of 100 float images in [0, 1] with their labels."""
    # Shuffling row numbers is fast, and their buffer is small in a checkpoint.
    rows = tf.data.Dataset.range(len(images))
    if shuffle:
        rows = rows.shuffle(len(images), seed=0)
    images, labels = tf.constant(images), tf.constant(labels)
    return rows.batch(100).map(
        lambda rows: (tf.cast(tf.gather(images, rows), tf.float32) / 255, tf.gather(labels, rows))
    )


def trained(model, train, test, *, epochs, learning_rate, logdir):
    """Train a model and return its accuracy on the test images."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(
        batches(*train, shuffle=True),
        epochs=epochs,
        shuffle=False,  # The pipeline shuffles.
        verbose=0,
        callbacks=[StepLogger(logdir), Checkpoint(f"{logdir}/checkpoints"), GracefulShutdown()],
    )
    scores = model.evaluate(batches(*test, shuffle=False), verbose=0, return_dict=True)
    return scores["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/distillation")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the student; default: 10")
    parser.add_argument(
        "--teacher_epochs", type=int, default=3, help="epochs of the teacher; default: 3"
    )
    parser.add_argument("--examples", type=int, help="training images to use; default: all")
    arguments = parser.parse_args()
    logdir, examples = arguments.logdir, arguments.examples

    keras.utils.set_random_seed(0)
    train, test = load("auto")
    data = (train.images[:examples], train.labels[:examples]), (test.images, test.labels)
    large, small = teacher(), student()
    settings = {"epochs": arguments.teacher_epochs, "learning_rate": 0.001}
    taught = trained(TapeModel(large), *data, **settings, logdir=f"{logdir}/teacher")
    settings = {"epochs": arguments.epochs, "learning_rate": 0.003}
    learned = trained(Distiller(small, large), *data, **settings, logdir=f"{logdir}/student")
    print(f"test accuracy of the teacher: {taught:.4f}, of the student: {learned:.4f}")


if __name__ == "__main__":
    main()
