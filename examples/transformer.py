"""A sequence-to-sequence transformer that translates numbers such as 742019 to English.

    python examples/transformer.py --logdir=logs/transformer

The model is a functional model with an extra method; the train_step is TapeModel's. After each
epoch TensorBoard shows how it translates some numbers.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, EventCallback, GracefulShutdown, StepLogger
from mnist_keras.console.argument_parser import local_path_argument

TEXT = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
"""
ONES, TENS = TEXT.split()[:20], TEXT.split()[20:]
# Token 0 is padding, for words and for digits.
WORDS = ["", "<start>", "<end>", *ONES, *TENS, "hundred", "thousand"]
DIGITS, LENGTH = 6, 11  # The longest number and the longest sentence, with its start and end.


class Translator(TapeModel):
    """Predicts each next word from the digits and the words before it."""

    def translate(self, digits):
        """Digits (n, DIGITS) to words, integers (n, LENGTH); each is the likeliest next word."""
        words = np.zeros((len(digits), LENGTH), np.int64)
        words[:, 0] = WORDS.index("<start>")
        for place in range(1, LENGTH):
            logits = self.predict_on_batch([digits, words[:, :-1]])
            words[:, place] = logits[:, place - 1].argmax(axis=-1)
        return words


class Translations(EventCallback):
    """Logs how the model translates some numbers after each epoch."""

    def __init__(self, logdir, numbers):
        super().__init__(logdir)
        self.numbers = numbers

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        digits, _ = tokens(self.numbers)
        sentences = map(text_of, self.model.translate(digits))
        rows = [[str(number), words] for number, words in zip(self.numbers, sentences, strict=True)]
        self.log_text("translations", rows)


class Embedding(layers.Layer):
    """Embeddings of tokens plus embeddings of their positions; token 0 is masked."""

    def __init__(self, *, tokens, length, width):
        super().__init__()
        self.tokens = layers.Embedding(tokens, width, mask_zero=True)
        self.places = layers.Embedding(length, width)

    def call(self, inputs):
        return self.tokens(inputs) + self.places(ops.arange(ops.shape(inputs)[1]))

    def compute_mask(self, inputs, mask=None):
        return self.tokens.compute_mask(inputs)


class Block(layers.Layer):
    """Attention and two dense layers; a decoder block also attends to the encoder's output."""

    def __init__(self, width, *, is_decoder=False):
        super().__init__()
        self.supports_masking = True
        self.is_decoder = is_decoder
        self.attentions = [layers.MultiHeadAttention(4, width // 4) for _ in range(1 + is_decoder)]
        self.dense = keras.Sequential([layers.Dense(4 * width, "relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization() for _ in range(2 + is_decoder)]
        self.dropout = layers.Dropout(0.1)

    def call(self, x, encoded=None):
        attended = self.attentions[0](x, x, use_causal_mask=self.is_decoder)
        x = self.norms[0](x + self.dropout(attended))
        if self.is_decoder:
            x = self.norms[1](x + self.dropout(self.attentions[1](x, encoded)))
        return self.norms[-1](x + self.dropout(self.dense(x)))


def translator(*, width=64):
    digits, words = keras.Input((DIGITS,), dtype="int64"), keras.Input((None,), dtype="int64")
    encoded = Block(width)(Embedding(tokens=11, length=DIGITS, width=width)(digits))
    embedded = Embedding(tokens=len(WORDS), length=LENGTH, width=width)(words)
    decoded = Block(width, is_decoder=True)(embedded, encoded=encoded)
    return Translator([digits, words], layers.Dense(len(WORDS))(decoded))


def spelled(number):
    """The words of a number below a million."""
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = spelled(number % size) if number % size else []
            return [*spelled(number // size), name, *rest]
    if number < 20:
        return [ONES[number]]
    return [TENS[number // 10 - 2], *([ONES[number % 10]] if number % 10 else [])]


def tokens(numbers):
    """Digits (n, DIGITS), each plus 1, and words (n, LENGTH), both padded with 0."""
    digits = np.zeros((len(numbers), DIGITS), np.int64)
    words = np.zeros((len(numbers), LENGTH), np.int64)
    for row, number in enumerate(numbers):
        text = [int(digit) + 1 for digit in str(number)]
        sentence = [WORDS.index(word) for word in ("<start>", *spelled(number), "<end>")]
        digits[row, : len(text)], words[row, : len(sentence)] = text, sentence
    return digits, words


def text_of(words):
    """The text of a sentence, integers (LENGTH,)."""
    return " ".join(WORDS[word] for word in words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", type=local_path_argument, default="logs/transformer")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--examples", type=int, default=20_000, help="numbers to learn from")
    arguments = parser.parse_args()
    logdir, examples = arguments.logdir, arguments.examples

    keras.utils.set_random_seed(0)
    numbers = np.random.default_rng(0).permutation(1_000_000)
    digits, words = tokens(numbers[:examples])
    data = tf.data.Dataset.from_tensor_slices(((digits, words[:, :-1]), words[:, 1:]))
    model = translator()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(
        data.shuffle(len(digits), seed=0).batch(100),
        epochs=arguments.epochs,
        shuffle=False,  # The pipeline shuffles.
        verbose=0,
        callbacks=[
            StepLogger(logdir),
            Translations(logdir, numbers[-10:]),
            Checkpoint(f"{logdir}/checkpoints"),
            GracefulShutdown(),
        ],
    )
    digits, words = tokens(numbers[-1000:])
    translated = model.translate(digits)
    print(f"{numbers[-1]}: {text_of(translated[-1])}")
    # Words after the end are ignored.
    is_right = np.all((translated == words) | (words == 0), axis=1)
    print(f"numbers translated without an error: {is_right.mean():.4f}")


if __name__ == "__main__":
    main()
