import keras
import pytest
import tensorflow as tf

from mnist_keras.callbacks.data_flow import is_computed_in_step

WEIGHT = keras.Variable([1.0, 2.0])
TABLE = keras.Variable([[1.0], [2.0]])
COUNTER = tf.Variable(1.0, trainable=False)
MEAN = keras.metrics.Mean()


@tf.function
def inner(x):
    MEAN.update_state(x)
    return tf.reduce_sum(x), MEAN.result(), tf.reduce_sum(WEIGHT**2)


VALUES = {
    "a sum over the batch": lambda x: (tf.reduce_sum(x), True),
    "a penalty of trained weights": lambda x: (tf.reduce_sum(WEIGHT**2), True),
    "a row of a trained table": lambda x: (tf.reduce_sum(tf.gather(TABLE.value, [0])), True),
    "a random number": lambda x: (tf.random.uniform(()), True),
    "a loss times a variable": lambda x: (tf.reduce_sum(x) * COUNTER, True),
    "a branch of a condition": lambda x: (
        tf.cond(x[0] > 0, lambda: tf.reduce_sum(x), lambda: 0.0),
        True,
    ),
    "a result of a metric": lambda x: (MEAN.result(), False),
    "a result that is changed": lambda x: (tf.sqrt(tf.identity(MEAN.result())), False),
    "a result after an update": lambda x: (MEAN(tf.reduce_sum(x)), False),
    "a quotient of variables": lambda x: (COUNTER.assign_add(x[0]) / COUNTER, False),
    "a constant": lambda x: (tf.constant(1.0), True),
    "an inner function's sum": lambda x: (inner(x)[0], True),
    "an inner function's metric": lambda x: (inner(x)[1] / 2, False),
    "an inner function's penalty": lambda x: (inner(x)[2], True),
}


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_values_of_a_step_are_told_from_the_state(name, is_nested):
    found = []

    @tf.function(autograph=False)
    def step(x):
        value, expected = VALUES[name](x)
        found.append((is_computed_in_step(value, trained=[WEIGHT.value, TABLE.value]), expected))
        return value

    @tf.function(autograph=False)
    def loop(x):
        return tf.while_loop(lambda i: i < 2, lambda i: (step(x), i + 1)[1], [tf.constant(0)])

    (loop if is_nested else step).get_concrete_function(tf.TensorSpec([2]))
    assert found == [(expected, expected) for _, expected in found]
