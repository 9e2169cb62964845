"""From a RunConfig to the objects of Keras that it names."""

import functools

import keras

from mnist_keras import networks, schedules
from mnist_keras.losses import SumSquaredError
from mnist_keras.tape_model import TapeModel


def build_model(config, *, steps):
    """The compiled `TapeModel` of a recipe, its weights initial.

    They are those that ``keras.utils.set_random_seed(seed)`` followed by building the network
    gives; that call sets the seeds of Python, NumPy and TensorFlow.

    Args:
        config: a `mnist_keras.config.RunConfig`.
        steps: updates in the whole training, for the schedule.
    """
    keras.utils.set_random_seed(config.seed)
    model = TapeModel(networks.build(config.network, dtype_policy=config.dtype_policy))
    rate = schedules.build(config.schedule, learning_rate=config.learning_rate, steps=steps)
    return compile_model(model, config, optimizer=_optimizer(config, rate))


def compile_model(model, config, *, optimizer=None):
    """Compile a `TapeModel` with a recipe's loss; without an optimizer, to be evaluated only."""
    model.compile(
        optimizer=optimizer,
        loss=_loss(config.loss),
        metrics=["accuracy"],
        steps_per_execution=config.steps_per_execution,
    )
    return model


def _optimizer(config, learning_rate):
    optimizers = {
        "sgd": keras.optimizers.SGD,
        "momentum": functools.partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    steps = config.gradient_accumulation_steps
    optimizer = optimizers[config.optimizer](
        learning_rate, gradient_accumulation_steps=steps if steps > 1 else None
    )
    if config.dtype_policy == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _loss(name):
    if name == "sum_squared_error":
        return SumSquaredError()
    return keras.losses.CategoricalCrossentropy(from_logits=True)
