"""Object detection."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import EXAMPLES, images, random
from tests.programs.program import program

ANCHORS, CLASSES = 16, 3


def boxed_images():
    """Box offsets and a class for each anchor; class -1 means no object."""
    boxes = random(15).standard_normal((EXAMPLES, ANCHORS, 4), dtype="float32")
    return images(), {"boxes": boxes, "classes": random(16).integers(-1, CLASSES, boxes.shape[:2])}


@program("none", arrays=boxed_images)
def focal_loss_detector(base):
    class FocalLoss(keras.losses.Loss):
        def __init__(self, alpha=0.25, gamma=2.0):
            super().__init__(reduction="none", name="focal")
            self.alpha, self.gamma = alpha, gamma

        def call(self, y_true, y_pred):
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=y_true, logits=y_pred)
            chance = tf.nn.sigmoid(y_pred)
            missed = tf.where(y_true == 1.0, 1 - chance, chance)
            alpha = tf.where(y_true == 1.0, self.alpha, 1 - self.alpha)
            return tf.reduce_sum(alpha * missed**self.gamma * entropy, axis=-1)

    class Detector(base):
        def __init__(self, num_classes, backbone=None, **kwargs):
            super().__init__(name="Detector", **kwargs)
            self.backbone = backbone
            self.num_classes = num_classes
            prior = keras.initializers.Constant(-2.0)
            self.class_head = layers.Conv2D(num_classes, 1, bias_initializer=prior)
            self.box_head = layers.Conv2D(4, 1)

        def compile(self, box_loss, classification_loss, optimizer, **kwargs):
            super().compile(optimizer=optimizer, **kwargs)
            self.box_loss, self.classification_loss = box_loss, classification_loss
            names = ("loss", "box_loss", "class_loss")
            self.trackers = [keras.metrics.Mean(name=name) for name in names]

        @property
        def metrics(self):
            return self.trackers

        def call(self, image, training=False):
            features = self.backbone(image, training=training)
            boxes = tf.reshape(self.box_head(features), (-1, ANCHORS, 4))
            return boxes, tf.reshape(self.class_head(features), (-1, ANCHORS, self.num_classes))

        def losses_of(self, y, boxes, logits):
            is_box = tf.cast(y["classes"] >= 0, tf.float32)
            count = tf.maximum(tf.reduce_sum(is_box), 1.0)
            focal = self.classification_loss(tf.one_hot(y["classes"], self.num_classes), logits)
            class_loss = tf.reduce_sum(focal) / count
            box_loss = tf.reduce_sum(is_box * self.box_loss(y["boxes"], boxes)) / count
            return class_loss + box_loss, box_loss, class_loss

        def train_step(self, data):
            image, y = data
            with tf.GradientTape() as tape:
                losses = self.losses_of(y, *self(image, training=True))
            gradients = tape.gradient(losses[0], self.trainable_variables)
            gradients = [tf.clip_by_norm(gradient, 10.0) for gradient in gradients]
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            for tracker, loss in zip(self.trackers, losses, strict=True):
                tracker.update_state(loss)
            return {m.name: m.result() for m in self.metrics}

    convolution = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)
    stack = [convolution, layers.BatchNormalization(), layers.ReLU()]
    model = Detector(CLASSES, keras.Sequential([keras.Input((8, 8, 2)), *stack]))
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([2, 5], [0.001, 0.01, 0.002])
    model.compile(
        box_loss=keras.losses.Huber(reduction="none"),
        classification_loss=FocalLoss(),
        optimizer=keras.optimizers.SGD(learning_rate=rates, momentum=0.9),
    )
    return model
