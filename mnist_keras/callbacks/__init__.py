"""Callbacks for any ``keras.Model``: logging, checkpoints and clean stops at true steps.

The callbacks for TensorBoard's other dashboards are imported at their first use.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from mnist_keras.callbacks.averaged_weights import AveragedWeights
from mnist_keras.callbacks.checkpoint import Checkpoint, CheckpointError, NotExactError
from mnist_keras.callbacks.divergence_guard import DivergedError, DivergenceGuard
from mnist_keras.callbacks.graceful_shutdown import GracefulShutdown
from mnist_keras.callbacks.load_weights import load_weights
from mnist_keras.callbacks.progress import Progress
from mnist_keras.callbacks.tensorboard.event_callback import EventCallback, EveryEpochsCallback
from mnist_keras.callbacks.tensorboard.step_logger import StepLogger
from mnist_keras.errors import Interrupted

if TYPE_CHECKING:
    from mnist_keras.callbacks.learning_rate_finder import LearningRateFinder
    from mnist_keras.callbacks.tensorboard.chart_layout import ChartLayout
    from mnist_keras.callbacks.tensorboard.class_scores import ClassScores
    from mnist_keras.callbacks.tensorboard.confusion_matrix import ConfusionMatrix
    from mnist_keras.callbacks.tensorboard.first_layer_weights import FirstLayerWeights
    from mnist_keras.callbacks.tensorboard.histograms import Histograms
    from mnist_keras.callbacks.tensorboard.hparams import HParams
    from mnist_keras.callbacks.tensorboard.input_sample import InputSample
    from mnist_keras.callbacks.tensorboard.memory_usage import MemoryUsage
    from mnist_keras.callbacks.tensorboard.mistakes import Mistakes
    from mnist_keras.callbacks.tensorboard.network_graph import NetworkGraph
    from mnist_keras.callbacks.tensorboard.pr_curves import PRCurves
    from mnist_keras.callbacks.tensorboard.profiler import Profiler
    from mnist_keras.callbacks.tensorboard.projector import Projector
    from mnist_keras.callbacks.tensorboard.run_text import RunText
    from mnist_keras.callbacks.tensorboard.weight_norms import WeightNorms

__path__.append(os.path.join(os.path.dirname(__path__[0]), "aliases", "callbacks"))

_HOME = {
    "ChartLayout": "tensorboard.chart_layout",
    "ClassScores": "tensorboard.class_scores",
    "ConfusionMatrix": "tensorboard.confusion_matrix",
    "FirstLayerWeights": "tensorboard.first_layer_weights",
    "HParams": "tensorboard.hparams",
    "Histograms": "tensorboard.histograms",
    "InputSample": "tensorboard.input_sample",
    "LearningRateFinder": "learning_rate_finder",
    "MemoryUsage": "tensorboard.memory_usage",
    "Mistakes": "tensorboard.mistakes",
    "NetworkGraph": "tensorboard.network_graph",
    "PRCurves": "tensorboard.pr_curves",
    "Profiler": "tensorboard.profiler",
    "Projector": "tensorboard.projector",
    "RunText": "tensorboard.run_text",
    "WeightNorms": "tensorboard.weight_norms",
}
__all__ = [
    "AveragedWeights",
    "ChartLayout",
    "Checkpoint",
    "CheckpointError",
    "ClassScores",
    "ConfusionMatrix",
    "DivergedError",
    "DivergenceGuard",
    "EventCallback",
    "EveryEpochsCallback",
    "FirstLayerWeights",
    "GracefulShutdown",
    "HParams",
    "Histograms",
    "InputSample",
    "Interrupted",
    "LearningRateFinder",
    "MemoryUsage",
    "Mistakes",
    "NetworkGraph",
    "NotExactError",
    "PRCurves",
    "Profiler",
    "Progress",
    "Projector",
    "RunText",
    "StepLogger",
    "WeightNorms",
    "load_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
