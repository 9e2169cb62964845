"""Contrastive pre-training on unlabelled images, with a probe trained at the same time."""

import keras
import tensorflow as tf
from keras import layers, ops

from tests.programs.arrays import classes, images, words
from tests.programs.program import program

WIDTH = 8


def augmenter(scale):
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(scale, scale),
            layers.GaussianNoise(scale / 4),
        ]
    )


def encoder():
    convolution = layers.Conv2D(4, 3, strides=2, activation="relu")
    dense = layers.Dense(WIDTH, activation="relu")
    return keras.Sequential([keras.Input((8, 8, 2)), convolution, layers.Flatten(), dense])


def head(*widths):
    stack = [layers.Dense(width, activation="relu") for width in widths[:-1]]
    return keras.Sequential([keras.Input((WIDTH,)), *stack, layers.Dense(widths[-1])])


def unlabelled_and_labelled():
    """x is unlabelled, y is (images, classes)."""
    return images(seed=6), (images(), classes(3))


@program("seed_generator", arrays=unlabelled_and_labelled)
def simclr(base):
    class ContrastiveModel(base):
        def __init__(self):
            super().__init__()
            self.temperature = 0.1
            self.contrastive_augmenter = augmenter(0.3)
            self.classification_augmenter = augmenter(0.1)
            self.encoder = encoder()
            self.projection_head = head(WIDTH, WIDTH)
            self.linear_probe = head(3)

        def compile(self, contrastive_optimizer, probe_optimizer, **kwargs):
            super().compile(**kwargs)
            self.contrastive_optimizer = contrastive_optimizer
            self.probe_optimizer = probe_optimizer
            self.contrastive_loss_tracker = keras.metrics.Mean(name="c_loss")
            self.probe_loss_tracker = keras.metrics.Mean(name="p_loss")
            self.probe_accuracy = keras.metrics.SparseCategoricalAccuracy(name="p_acc")
            self.probe_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        @property
        def metrics(self):
            return [self.contrastive_loss_tracker, self.probe_loss_tracker, self.probe_accuracy]

        def contrastive_loss(self, one, other):
            one, other = ops.normalize(one, axis=1), ops.normalize(other, axis=1)
            similarities = ops.matmul(one, ops.transpose(other)) / self.temperature
            labels = ops.arange(ops.shape(one)[0])
            both = ops.concatenate([similarities, ops.transpose(similarities)])
            return ops.mean(
                keras.losses.sparse_categorical_crossentropy(
                    ops.concatenate([labels, labels]), both, from_logits=True
                )
            )

        def train_step(self, data):
            unlabelled, (labelled, labels) = data
            pictures = ops.concatenate([unlabelled, labelled])
            one = self.contrastive_augmenter(pictures, training=True)
            other = self.contrastive_augmenter(pictures, training=True)
            with tf.GradientTape() as tape:
                one = self.projection_head(self.encoder(one, training=True))
                other = self.projection_head(self.encoder(other, training=True))
                contrastive_loss = self.contrastive_loss(one, other)
            weights = self.encoder.trainable_weights + self.projection_head.trainable_weights
            gradients = tape.gradient(contrastive_loss, weights)
            self.contrastive_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            self.contrastive_loss_tracker.update_state(contrastive_loss)

            features = self.encoder(self.classification_augmenter(labelled, training=True))
            with tf.GradientTape() as tape:
                logits = self.linear_probe(features, training=True)
                probe_loss = self.probe_loss(labels, logits)
            weights = self.linear_probe.trainable_weights
            gradients = tape.gradient(probe_loss, weights)
            self.probe_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            self.probe_loss_tracker.update_state(probe_loss)
            self.probe_accuracy.update_state(labels, logits)
            return {m.name: m.result() for m in self.metrics}

    model = ContrastiveModel()
    model.compile(
        contrastive_optimizer=keras.optimizers.Adam(), probe_optimizer=keras.optimizers.Adam()
    )
    return model


@program("none", arrays=lambda: (images(), images() ** 2))
def simsiam(base):
    class SimSiam(base):
        def __init__(self, encoder, predictor):
            super().__init__()
            self.encoder = encoder
            self.predictor = predictor
            self.loss_tracker = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.loss_tracker]

        @staticmethod
        def similarity(prediction, target):
            target = tf.math.l2_normalize(tf.stop_gradient(target), axis=1)
            prediction = tf.math.l2_normalize(prediction, axis=1)
            return -tf.reduce_mean(tf.reduce_sum(prediction * target, axis=1))

        def train_step(self, data):
            one, other = data
            with tf.GradientTape() as tape:
                one, other = self.encoder(one), self.encoder(other)
                loss = 0.5 * self.similarity(self.predictor(one), other)
                loss += 0.5 * self.similarity(self.predictor(other), one)
            learnable = self.encoder.trainable_variables + self.predictor.trainable_variables
            gradients = tape.gradient(loss, learnable)
            self.optimizer.apply_gradients(zip(gradients, learnable, strict=True))
            self.loss_tracker.update_state(loss)
            return {"loss": self.loss_tracker.result()}

    model = SimSiam(encoder(), head(2, WIDTH))
    rate = keras.optimizers.schedules.CosineDecay(initial_learning_rate=0.03, decay_steps=12)
    model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.6))
    return model


def paired_tuples():
    """(unlabelled images, their unused labels), (labelled images, classes)."""
    return (images(seed=6), classes(3, seed=7)), (images(), classes(3))


@program("seed_generator", arrays=paired_tuples)
def nnclr(base):
    class NNCLR(base):
        def __init__(self, temperature, queue_size):
            super().__init__()
            self.contrastive_accuracy = keras.metrics.SparseCategoricalAccuracy()
            self.probe_accuracy = keras.metrics.SparseCategoricalAccuracy()
            self.probe_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.augmenter = augmenter(0.2)
            self.encoder = encoder()
            self.projection_head = head(WIDTH)
            self.linear_probe = head(3)
            self.temperature = temperature
            queue = tf.math.l2_normalize(tf.random.normal((queue_size, WIDTH)), axis=1)
            self.feature_queue = tf.Variable(queue, trainable=False)

        def compile(self, contrastive_optimizer, probe_optimizer, **kwargs):
            super().compile(**kwargs)
            self.contrastive_optimizer = contrastive_optimizer
            self.probe_optimizer = probe_optimizer

        def nearest_neighbour(self, projections):
            similarities = tf.matmul(projections, self.feature_queue, transpose_b=True)
            nearest = tf.gather(self.feature_queue, tf.argmax(similarities, axis=1))
            return projections + tf.stop_gradient(nearest - projections)

        def contrastive_loss(self, one, other):
            one, other = tf.math.l2_normalize(one, axis=1), tf.math.l2_normalize(other, axis=1)
            logits = tf.matmul(self.nearest_neighbour(one), other, transpose_b=True)
            labels = tf.range(tf.shape(one)[0])
            self.contrastive_accuracy.update_state(labels, logits)
            kept = self.feature_queue[: -tf.shape(one)[0]]
            self.feature_queue.assign(tf.concat([one, kept], axis=0))
            return keras.losses.sparse_categorical_crossentropy(
                labels, logits / self.temperature, from_logits=True
            )

        def train_step(self, data):
            (unlabelled, _), (labelled, labels) = data
            pictures = tf.concat([unlabelled, labelled], axis=0)
            one, other = self.augmenter(pictures), self.augmenter(pictures)
            with tf.GradientTape() as tape:
                one = self.projection_head(self.encoder(one))
                other = self.projection_head(self.encoder(other))
                contrastive_loss = self.contrastive_loss(one, other)
            weights = self.encoder.trainable_weights + self.projection_head.trainable_weights
            gradients = tape.gradient(contrastive_loss, weights)
            self.contrastive_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            with tf.GradientTape() as tape:
                logits = self.linear_probe(self.encoder(labelled))
                probe_loss = self.probe_loss(labels, logits)
            weights = self.linear_probe.trainable_weights
            gradients = tape.gradient(probe_loss, weights)
            self.probe_optimizer.apply_gradients(zip(gradients, weights, strict=True))
            self.probe_accuracy.update_state(labels, logits)
            return {
                "c_loss": tf.reduce_mean(contrastive_loss),
                "c_acc": self.contrastive_accuracy.result(),
                "p_loss": probe_loss,
                "p_acc": self.probe_accuracy.result(),
            }

    model = NNCLR(temperature=0.1, queue_size=20)
    model.compile(
        contrastive_optimizer=keras.optimizers.Adam(0.001),
        probe_optimizer=keras.optimizers.Adam(0.001),
    )
    return model


def captioned_images():
    return ({"image": images(), "caption": words(9)},)


@program("none", arrays=captioned_images)
def dual_encoder(base):
    class DualEncoder(base):
        def __init__(self, text_encoder, image_encoder, temperature=1.0, **kwargs):
            super().__init__(**kwargs)
            self.text_encoder = text_encoder
            self.image_encoder = image_encoder
            self.temperature = temperature
            self.loss_tracker = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.loss_tracker]

        def call(self, features, training=False):
            captions = self.text_encoder(features["caption"], training=training)
            return captions, self.image_encoder(features["image"], training=training)

        def compute_loss(self, captions, pictures):
            logits = tf.matmul(captions, pictures, transpose_b=True) / self.temperature
            alike = tf.matmul(captions, captions, transpose_b=True)
            alike += tf.matmul(pictures, pictures, transpose_b=True)
            targets = tf.nn.softmax(alike / (2 * self.temperature))
            loss = keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
            transposed = tf.transpose(targets), tf.transpose(logits)
            loss += keras.losses.categorical_crossentropy(*transposed, from_logits=True)
            return loss / 2

        def train_step(self, features):
            with tf.GradientTape() as tape:
                captions, pictures = self(features, training=True)
                loss = self.compute_loss(captions, pictures)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.loss_tracker.update_state(loss)
            return {"loss": self.loss_tracker.result()}

        def test_step(self, features):
            captions, pictures = self(features, training=False)
            self.loss_tracker.update_state(self.compute_loss(captions, pictures))
            return {"loss": self.loss_tracker.result()}

    text = [layers.Embedding(9, 4), layers.GlobalAveragePooling1D(), layers.Dense(WIDTH)]
    model = DualEncoder(keras.Sequential([keras.Input((5,)), *text]), encoder(), temperature=0.05)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.001))
    return model
