"""Models without a custom step."""

import keras
from keras import layers

from tests.programs.arrays import classes, labelled_images, random, vectors
from tests.programs.program import program


@program("seed_generator", arrays=lambda: (vectors(6), classes(3)))
def mlp_with_dropout(base):
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="relu")(inputs)
    x = layers.Dropout(0.5)(x)
    model = base(inputs=inputs, outputs=layers.Dense(3, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@program("seed_generator", arrays=labelled_images)
def cnn_with_augmentation(base):
    inputs = keras.Input((8, 8, 2))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.1)(x)
    x = layers.RandomContrast(0.2)(x)
    x = layers.Conv2D(4, 3, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = base(inputs, layers.Dense(3)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def weighted_examples():
    x = vectors(6)
    return x, (x[:, :1] > 0).astype("float32"), random(22).random(len(x), dtype="float32")


@program("none", arrays=weighted_examples)
def weighted_classifier(base):
    class Classifier(base):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(8, activation="relu")
            self.normalization = layers.BatchNormalization()
            self.head = layers.Dense(1, activation="sigmoid")

        def call(self, x, training=False):
            return self.head(self.normalization(self.hidden(x), training=training))

    model = Classifier()
    model.compile(
        optimizer=keras.optimizers.Ftrl(0.1),
        loss="binary_crossentropy",
        metrics=[keras.metrics.AUC(num_thresholds=20), keras.metrics.Precision()],
        weighted_metrics=["accuracy", keras.metrics.Recall()],
    )
    return model
