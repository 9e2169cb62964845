"""The Keras objects that a RunConfig describes."""

import functools

import keras

from mnist_keras.app import networks, schedules
from mnist_keras.data.augmentation import Augmentation
from mnist_keras.data.datasets.descriptions import describe
from mnist_keras.model import optimizers
from mnist_keras.model.losses import SumSquaredError
from mnist_keras.model.tape_model import TapeModel


def build_model(config, *, steps):
    """The compiled `TapeModel` of a config, with its initial weights.

    ``keras.utils.set_random_seed(seed)`` is called before the network is built, so the seed
    determines the weights. That call sets the seeds of Python, NumPy and TensorFlow.

    Args:
        config: a `mnist_keras.app.config.RunConfig` whose ``batch_parts`` is a number.
        steps: number of training steps, for the schedule.
    """
    keras.utils.set_random_seed(config.seed)
    network = networks.build(
        config.network, dtype_policy=config.dtype_policy, description=describe(config.dataset)
    )
    model = TapeModel(network, batch_parts=config.batch_parts)
    rate = schedules.build(
        config.schedule,
        learning_rate=config.learning_rate,
        steps=steps,
        warmup_steps=config.warmup_steps,
    )
    return compile_model(model, config, optimizer=_optimizer(config, rate))


def compile_model(model, config, *, optimizer=None):
    """Compile a `TapeModel` with the loss of a config; to train, it needs an optimizer."""
    model.compile(
        optimizer=optimizer,
        loss=_loss(config),
        metrics=["accuracy"],
        steps_per_execution=config.steps_per_execution,
    )
    return model


def augmentation(config):
    """The `mnist_keras.data.augmentation.Augmentation` of a config; None if it has none."""
    amounts = {
        "shift_pixels": config.augment_shift,
        "rotation_degrees": config.augment_rotation,
        "scale": config.augment_scale,
        "shear_degrees": config.augment_shear,
        "elastic_pixels": config.augment_elastic,
    }
    return Augmentation(**amounts) if any(amounts.values()) else None


def _optimizer(config, learning_rate):
    classes = {
        "sgd": optimizers.SGD,
        "momentum": functools.partial(optimizers.SGD, momentum=0.9, nesterov=True),
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    options = {
        "beta_1": config.adam_beta_1,
        "beta_2": config.adam_beta_2,
        "weight_decay": config.weight_decay,
        "ema_momentum": config.average_decay,
    }
    steps = config.gradient_accumulation_steps
    optimizer = classes[config.optimizer](
        learning_rate,
        gradient_accumulation_steps=steps if steps > 1 else None,
        use_ema=config.average_decay is not None,
        **{name: value for name, value in options.items() if value is not None},
    )
    if config.dtype_policy == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _loss(config):
    if config.loss == "sum_squared_error":
        return SumSquaredError()
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
