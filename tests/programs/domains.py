"""Adversarial adaptation to another domain."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import classes, images
from tests.programs.program import program


@tf.custom_gradient
def reversed_gradient(x):
    return tf.identity(x), lambda upstream: -0.3 * upstream


def two_labelled_domains():
    return {"source": images(), "target": 1 - images(seed=21)}, classes(3)


@program("seed_generator", arrays=two_labelled_domains)
def domain_adversarial(base):
    class DomainAdversarial(base):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.features = keras.Sequential([layers.Flatten(), layers.Dense(8, "relu")])
            self.labeller = keras.Sequential([layers.Dropout(0.3), layers.Dense(3)])
            self.critic = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(1)])
            self.domain_loss = keras.losses.BinaryCrossentropy(from_logits=True)
            self.domain_tracker = keras.metrics.Mean(name="domain_loss")
            self.domain_accuracy = keras.metrics.BinaryAccuracy(threshold=0.0)

        def call(self, x, training=False):
            return self.labeller(self.features(x), training=training)

        def train_step(self, data):
            x, y = data
            both = tf.concat([x["source"], x["target"]], axis=0)
            count = tf.shape(x["source"])[0]
            domains = tf.concat([tf.zeros((count, 1)), tf.ones((count, 1))], axis=0)
            with tf.GradientTape() as tape:
                features = self.features(both, training=True)
                y_pred = self.labeller(features[:count], training=True)
                judged = self.critic(reversed_gradient(features), training=True)
                domain_loss = self.domain_loss(domains, judged)
                label_loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
                loss = label_loss + domain_loss
            gradients = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
            self.domain_tracker.update_state(domain_loss)
            self.domain_accuracy.update_state(domains, judged)
            return {
                **self.compute_metrics(x, y, y_pred),
                "domain_loss": self.domain_tracker.result(),
                "domain_accuracy": self.domain_accuracy.result(),
                "loss": label_loss,
            }

    model = DomainAdversarial()
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
