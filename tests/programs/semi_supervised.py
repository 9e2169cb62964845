"""Labelled and unlabelled images in one step."""

import keras
import tensorflow as tf
from keras import layers, ops

from tests.programs.arrays import classes, images
from tests.programs.program import program


def partly_labelled():
    return {"labelled": images(), "unlabelled": images(seed=9)}, classes(3)


@program("keras_global", "seed_generator", arrays=partly_labelled)
def fixmatch(base):
    class FixMatch(base):
        def __init__(self, network, threshold=0.35, weight=1.0, **kwargs):
            super().__init__(**kwargs)
            self.classifier = network
            self.threshold = threshold
            self.weight = weight
            self.weak = keras.Sequential([layers.RandomFlip("horizontal")])
            self.supervised_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.mask_tracker = keras.metrics.Mean(name="mask")
            self.loss_tracker = keras.metrics.Mean(name="loss")
            self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")

        @property
        def metrics(self):
            return [self.loss_tracker, self.mask_tracker, self.accuracy]

        def call(self, x, training=None):
            return self.classifier(x, training=training)

        def strong(self, pictures):
            bright = keras.random.uniform((ops.shape(pictures)[0], 1, 1, 1), 0.5, 1.5)
            noise = keras.random.normal(ops.shape(pictures), stddev=0.1)
            return self.weak(pictures, training=True) * bright + noise

        def train_step(self, data):
            x, y = data
            weakly = self(self.weak(x["unlabelled"], training=True), training=False)
            guesses = ops.softmax(weakly)
            is_sure = ops.cast(ops.max(guesses, axis=1) > self.threshold, "float32")
            with tf.GradientTape() as tape:
                logits = self(self.weak(x["labelled"], training=True), training=True)
                strongly = self(self.strong(x["unlabelled"]), training=True)
                consistency = keras.losses.sparse_categorical_crossentropy(
                    ops.argmax(guesses, axis=1), strongly, from_logits=True
                )
                loss = self.supervised_loss(y, logits)
                loss += self.weight * ops.mean(is_sure * consistency)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.loss_tracker.update_state(loss)
            self.mask_tracker.update_state(is_sure)
            self.accuracy.update_state(y, logits)
            return {m.name: m.result() for m in self.metrics}

        def test_step(self, data):
            x, y = data
            self.accuracy.update_state(y, self(x["labelled"], training=False))
            return {"accuracy": self.accuracy.result()}

    model = FixMatch(
        keras.Sequential(
            [
                keras.Input((8, 8, 2)),
                layers.Conv2D(4, 3, strides=2, activation="relu"),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
    )
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True))
    return model


@program("tf_global", "seed_generator", arrays=partly_labelled)
def mean_teacher(base):
    class MeanTeacher(base):
        def __init__(self, student, decay=0.9):
            super().__init__()
            self.student = student
            self.teacher = keras.models.clone_model(student)
            self.teacher.set_weights(student.get_weights())
            self.teacher.trainable = False
            self.decay = decay

        def compile(self, **kwargs):
            super().compile(**kwargs)
            self.cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.supervised_tracker = keras.metrics.Mean(name="supervised_loss")
            self.consistency_tracker = keras.metrics.Mean(name="consistency_loss")

        @property
        def metrics(self):
            return [self.supervised_tracker, self.consistency_tracker]

        def call(self, images, training=False):
            return self.student(images, training=training)

        def noisy(self, pictures):
            return pictures + tf.random.normal(tf.shape(pictures), stddev=0.1)

        def train_step(self, data):
            x, y = data
            taught = tf.nn.softmax(self.teacher(self.noisy(x["unlabelled"]), training=False))
            with tf.GradientTape() as tape:
                supervised = self.cross_entropy(y, self(self.noisy(x["labelled"]), training=True))
                learned = tf.nn.softmax(self(self.noisy(x["unlabelled"]), training=True))
                consistency = tf.reduce_mean((taught - learned) ** 2)
                loss = supervised + 5.0 * consistency
            gradients = tape.gradient(loss, self.student.trainable_weights)
            self.optimizer.apply(gradients, self.student.trainable_weights)
            pairs = zip(self.student.weights, self.teacher.weights, strict=True)
            for weight, average in pairs:
                average.assign(self.decay * average + (1 - self.decay) * weight)
            self.supervised_tracker.update_state(supervised)
            self.consistency_tracker.update_state(consistency)
            return {m.name: m.result() for m in self.metrics}

    hidden = [layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dropout(0.2)]
    model = MeanTeacher(keras.Sequential([keras.Input((8, 8, 2)), *hidden, layers.Dense(3)]))
    model.compile(optimizer=keras.optimizers.Adagrad(0.05))
    return model
