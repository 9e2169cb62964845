"""Small versions of programs that people train with Keras, mostly with a custom train_step.

Each one takes its base class as an argument: `keras.Model`, or one that must give equal numbers.
"""

from tests.programs import (  # noqa: F401  # Each module adds its programs to the table.
    autoencoders,
    classifiers,
    contrastive,
    detection,
    diffusion,
    distillation,
    domains,
    flows,
    gans,
    graphs,
    image_to_image,
    layerwise,
    metric_learning,
    mixing,
    multi_task,
    optimizers,
    physics,
    reinforcement,
    semi_supervised,
    sequences,
)
from tests.programs.program import PROGRAMS, Program

__all__ = ["PROGRAMS", "Program"]
