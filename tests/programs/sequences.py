"""Text and other sequences."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.programs.arrays import classes, images, random, vectors, words
from tests.programs.program import program

WORDS, LENGTH, WIDTH = 9, 5, 8


def translation_pairs():
    target = words(WORDS, length=LENGTH + 1, seed=10)
    inputs = {"encoder_inputs": words(WORDS), "decoder_inputs": target[:, :-1]}
    return inputs, target[:, 1:]


class PositionalEmbedding(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.token_embeddings = layers.Embedding(WORDS, WIDTH)
        self.position_embeddings = layers.Embedding(LENGTH, WIDTH)

    def call(self, inputs):
        positions = self.position_embeddings(ops.arange(ops.shape(inputs)[-1]))
        return self.token_embeddings(inputs) + positions

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 0)


class TransformerBlock(layers.Layer):
    """Attention within a sequence; a decoder also attends to a context."""

    def __init__(self, *, is_decoder, **kwargs):
        super().__init__(**kwargs)
        self.is_decoder = is_decoder
        self.supports_masking = True
        self.attention = layers.MultiHeadAttention(num_heads=2, key_dim=4, dropout=0.1)
        if is_decoder:
            self.cross_attention = layers.MultiHeadAttention(num_heads=2, key_dim=4)
        self.dense = layers.Dense(WIDTH, activation="relu")
        self.dropout = layers.Dropout(0.2)
        self.normalization = layers.LayerNormalization()

    def call(self, x, context=None):
        x += self.attention(query=x, value=x, key=x, use_causal_mask=self.is_decoder)
        if self.is_decoder:
            x += self.cross_attention(query=x, value=context, key=context)
        return self.normalization(x + self.dropout(self.dense(x)))


@program("seed_generator", arrays=translation_pairs)
def sequence_to_sequence_transformer(base):
    encoder_inputs = keras.Input((None,), dtype="int64", name="encoder_inputs")
    decoder_inputs = keras.Input((None,), dtype="int64", name="decoder_inputs")
    encoded = TransformerBlock(is_decoder=False)(PositionalEmbedding()(encoder_inputs))
    x = TransformerBlock(is_decoder=True)(PositionalEmbedding()(decoder_inputs), context=encoded)
    outputs = layers.Dense(WORDS, activation="softmax")(layers.Dropout(0.3)(x))
    model = base([encoder_inputs, decoder_inputs], outputs, name="transformer")
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    model.compile(optimizer="rmsprop", loss=loss, metrics=["accuracy"])
    return model


def masked_words():
    """(words with some replaced by 0, all words, weights: 1 for replaced words)."""
    labels = words(WORDS, seed=11)
    weights = (random(12).random(labels.shape) < 0.4).astype("float32")
    weights[:, 0] = 1
    return np.where(weights == 1, 0, labels), labels, weights


@program("seed_generator", arrays=masked_words)
def masked_language_model(base):
    loss_fn = keras.losses.SparseCategoricalCrossentropy(reduction=None)
    loss_tracker = keras.metrics.Mean(name="loss")

    class MaskedLanguageModel(base):
        def train_step(self, inputs):
            if len(inputs) == 3:
                features, labels, sample_weight = inputs
            else:
                features, labels = inputs
                sample_weight = None
            with tf.GradientTape() as tape:
                predictions = self(features, training=True)
                loss = loss_fn(labels, predictions, sample_weight=sample_weight)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            loss_tracker.update_state(loss, sample_weight=sample_weight)
            return {"loss": loss_tracker.result()}

        @property
        def metrics(self):
            return [loss_tracker]

    inputs = layers.Input((LENGTH,), dtype="int64")
    x = layers.Embedding(WORDS, WIDTH)(inputs)
    attended = layers.MultiHeadAttention(num_heads=2, key_dim=4, dropout=0.1)(x, x, x)
    x = layers.LayerNormalization()(x + layers.Dropout(0.1)(attended))
    x = layers.LayerNormalization()(x + layers.Dense(WIDTH, activation="relu")(x))
    outputs = layers.Dense(WORDS, activation="softmax")(x)
    model = MaskedLanguageModel(inputs, outputs, name="masked_bert_model")
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001))
    return model


def written_words():
    return ({"image": images(), "label": words(WORDS, length=3)},)


@program("seed_generator", arrays=written_words)
def ctc(base):
    class CTCLayer(layers.Layer):
        def call(self, y_true, y_pred):
            losses = tf.nn.ctc_loss(
                labels=y_true,
                logits=y_pred,
                label_length=tf.fill([tf.shape(y_true)[0]], y_true.shape[1]),
                logit_length=tf.fill([tf.shape(y_pred)[0]], y_pred.shape[1]),
                logits_time_major=False,
                blank_index=0,
            )
            self.add_loss(tf.reduce_mean(losses))
            return y_pred

    image = layers.Input((8, 8, 2), name="image")
    labels = layers.Input((3,), name="label", dtype="int32")
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(image)
    x = layers.Dropout(0.2)(layers.Reshape((8, 8 * 4))(x))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.25))(x)
    logits = layers.Dense(WORDS + 1, name="logits")(x)
    output = CTCLayer(name="ctc_loss")(labels, logits)
    model = base(inputs=[image, labels], outputs=output, name="ocr")
    model.compile(optimizer=keras.optimizers.Adam())
    return model


@program("seed_generator", arrays=lambda: (words(WORDS), classes(2)))
def lstm(base):
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(WORDS, WIDTH, mask_zero=True)(inputs)
    x = layers.LSTM(WIDTH, dropout=0.2)(x)
    model = base(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def long_series():
    """Each batch of 4 series continues where the previous batch ends."""
    series = vectors(LENGTH, seed=13)[..., None]
    return series, series.sum(axis=1)


@program("none", arrays=long_series)
def stateful_rnn(base):
    class Forecaster(base):
        def __init__(self):
            super().__init__()
            self.gru = layers.GRU(WIDTH, stateful=True)
            self.dense = layers.Dense(1)

        def call(self, x):
            return self.dense(self.gru(x))

    model = Forecaster()
    model.compile(optimizer=keras.optimizers.Lion(0.01), loss="huber")
    return model
