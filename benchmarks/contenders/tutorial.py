"""The tutorial's loop, unchanged and under ``tf.function``."""

import numpy as np
import tensorflow as tf

from benchmarks.contenders import BATCH_SIZE, EVERY_STEPS, LEARNING_RATE, UNITS


def loop(wrap):
    """Maker of the loop, its step wrapped."""

    def make(train):
        x = tf.convert_to_tensor(train.images, dtype=tf.float32) / 255
        y = tf.one_hot(tf.convert_to_tensor(train.labels.astype(np.int32)), depth=10)
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH_SIZE)
        model = tf.keras.Sequential(
            [
                *(tf.keras.layers.Dense(units, activation="relu") for units in UNITS[:-1]),
                tf.keras.layers.Dense(UNITS[-1]),
            ]
        )
        model.build((None, train.images[0].size))
        optimizer = tf.keras.optimizers.SGD(learning_rate=LEARNING_RATE)
        optimizer.build(model.trainable_variables)

        @wrap
        def train_step(x, y):
            with tf.GradientTape() as tape:
                out = model(tf.reshape(x, (-1, 28 * 28)))
                loss = tf.reduce_sum(tf.square(out - y)) / tf.cast(tf.shape(x)[0], tf.float32)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        def run(epochs):
            for epoch in range(epochs):
                for step, (images, labels) in enumerate(dataset):
                    loss = train_step(images, labels)
                    if step % EVERY_STEPS == 0:
                        print(epoch, step, "loss:", loss.numpy(), flush=True)
                loss.numpy()

        return run

    return make


CONTENDERS = {
    "the tutorial's loop": loop(lambda step: step),
    "the tutorial's loop under tf.function": loop(tf.function),
}
