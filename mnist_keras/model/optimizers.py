"""SGD whose plain update reads and writes the weights once."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="mnist_keras")
class SGD(keras.optimizers.SGD):
    """``keras.optimizers.SGD`` with TensorFlow's fused update for plain SGD.

    Without momentum, ``w -= learning_rate * gradient`` is one operation for each weight instead of
    a product and a difference. For a small network that saves a noticeable part of a step. With
    momentum or sparse gradients the update is Keras's. Arguments and state are those of
    ``keras.optimizers.SGD``; a weight may differ from Keras's by the rounding of one product.

    Source: https://www.tensorflow.org/api_docs/python/tf/raw_ops/ResourceApplyGradientDescent

    Example:

    >>> import keras, tensorflow as tf
    >>> weight = keras.Variable([1.0, 2.0])
    >>> SGD(0.5).apply([tf.constant([2.0, 2.0])], [weight])
    >>> weight.numpy().tolist()
    [0.0, 1.0]
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.momentum or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle,
            alpha=tf.cast(learning_rate, variable.dtype),
            delta=tf.cast(gradient, variable.dtype),
        )
