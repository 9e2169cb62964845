"""Knowledge distillation, with a custom train_step and with a custom compute_loss."""

import keras
import tensorflow as tf
from keras import layers

from tests.programs.arrays import labelled_images
from tests.programs.program import program


def classifier(width, name):
    hidden = [layers.Conv2D(width, 3, activation="relu"), layers.Flatten()]
    return keras.Sequential([keras.Input((8, 8, 2)), *hidden, layers.Dense(3)], name=name)


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@program("none", arrays=labelled_images)
def distillation_by_train_step(base):
    class Distiller(base):
        def __init__(self, student, teacher):
            super().__init__()
            self.teacher = teacher
            self.student = student

        def compile(
            self,
            optimizer,
            metrics,
            student_loss_fn,
            distillation_loss_fn,
            alpha=0.1,
            temperature=3,
        ):
            super().compile(optimizer=optimizer, metrics=metrics)
            self.student_loss_fn = student_loss_fn
            self.distillation_loss_fn = distillation_loss_fn
            self.alpha = alpha
            self.temperature = temperature

        def train_step(self, data):
            x, y = data
            taught = tf.nn.softmax(self.teacher(x, training=False) / self.temperature)
            with tf.GradientTape() as tape:
                learned = self.student(x, training=True)
                student_loss = self.student_loss_fn(y, learned)
                soft = tf.nn.softmax(learned / self.temperature)
                distillation_loss = self.distillation_loss_fn(taught, soft) * self.temperature**2
                loss = self.alpha * student_loss + (1 - self.alpha) * distillation_loss
            variables = self.student.trainable_variables
            gradients = tape.gradient(loss, variables)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            results = self.compute_metrics(x, y, learned)
            results.update({"student_loss": student_loss, "distillation_loss": distillation_loss})
            return {**results, "loss": loss}

        def test_step(self, data):
            x, y = data
            learned = self.student(x, training=False)
            results = self.compute_metrics(x, y, learned)
            results["student_loss"] = self.student_loss_fn(y, learned)
            return results

    model = Distiller(student=classifier(2, "student"), teacher=classifier(4, "teacher"))
    model.compile(
        optimizer=keras.optimizers.Adam(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        student_loss_fn=cross_entropy(),
        distillation_loss_fn=keras.losses.KLDivergence(),
        alpha=0.2,
        temperature=4,
    )
    return model


@program("none", arrays=labelled_images)
def distillation_by_compute_loss(base):
    class Distiller(base):
        def __init__(self, student, teacher):
            super().__init__()
            self.teacher = teacher
            self.student = student

        def compile(self, optimizer, metrics, student_loss_fn, temperature):
            super().compile(optimizer=optimizer, metrics=metrics)
            self.student_loss_fn = student_loss_fn
            self.temperature = temperature

        def compute_loss(
            self, x=None, y=None, y_pred=None, sample_weight=None, allow_empty=False, **kwargs
        ):
            taught = tf.nn.softmax(self.teacher(x, training=False) / self.temperature)
            soft = tf.nn.softmax(y_pred / self.temperature)
            loss = keras.losses.kl_divergence(taught, soft) * self.temperature**2
            return 0.3 * self.student_loss_fn(y, y_pred) + 0.7 * tf.reduce_mean(loss)

        def call(self, x):
            return self.student(x)

    teacher = classifier(4, "teacher")
    teacher.trainable = False
    model = Distiller(student=classifier(2, "student"), teacher=teacher)
    model.compile(
        optimizer=keras.optimizers.Nadam(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        student_loss_fn=cross_entropy(),
        temperature=4,
    )
    return model
