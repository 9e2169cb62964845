"""Small versions of the programs that people train with Keras, mostly by a train_step of their own.

Each one takes its base class as an argument: `keras.Model`, or one that promises the same numbers.
"""

from tests.programs import (  # noqa: F401  # Each one adds its programs to the table.
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
