"""Only the matrix products of a step; each step waits for the previous one, as in training."""

import itertools

import tensorflow as tf

from benchmarks.contenders import BATCH_SIZE, UNITS


def products(dtype):
    """Maker of the products that every training of this network needs, in a dtype."""

    def make(train):
        steps = len(train.labels) // BATCH_SIZE
        sizes = (train.images[0].size, *UNITS)
        weights = [tf.random.normal(pair, 0, 0.05) for pair in itertools.pairwise(sizes)]
        weights = [tf.cast(weight, dtype) for weight in weights]
        images = tf.cast(tf.random.uniform((BATCH_SIZE, sizes[0])), dtype)

        def step(x):
            inputs = [x]
            for weight in weights:
                inputs.append(tf.matmul(inputs[-1], weight))
            gradient, touched = inputs.pop(), []
            for weight in reversed(weights):
                touched.append(tf.matmul(inputs[-1], gradient, transpose_a=True)[0, 0])
                if len(inputs) > 1:  # The images need no gradient.
                    gradient = tf.matmul(gradient, weight, transpose_b=True)
                inputs.pop()
            # The next step's images wait for all products of this one.
            return images + 0 * tf.add_n(touched)

        @tf.function
        def epoch():
            return tf.while_loop(
                lambda i, x: i < steps,
                lambda i, x: (i + 1, step(x)),
                (0, images),
                parallel_iterations=1,
            )

        def run(epochs):
            for _ in range(epochs):
                epoch()[1].numpy()

        return run

    return make


CONTENDERS = {
    "matrix products alone": products(tf.float32),
    "matrix products alone, bfloat16": products(tf.bfloat16),
}
