"""Callbacks for any ``keras.Model``: logging, checkpoints and clean stops at true steps.

Those for TensorBoard's other dashboards are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mnist_keras.callbacks.averaged_weights import AveragedWeights
from mnist_keras.callbacks.checkpoint import Checkpoint, CheckpointError
from mnist_keras.callbacks.divergence_guard import DivergedError, DivergenceGuard
from mnist_keras.callbacks.graceful_shutdown import GracefulShutdown, Interrupted
from mnist_keras.callbacks.progress import Progress
from mnist_keras.callbacks.step_logger import StepLogger

if TYPE_CHECKING:
    from mnist_keras.callbacks.chart_layout import ChartLayout
    from mnist_keras.callbacks.class_scores import ClassScores
    from mnist_keras.callbacks.confusion_matrix import ConfusionMatrix
    from mnist_keras.callbacks.first_layer_weights import FirstLayerWeights
    from mnist_keras.callbacks.histograms import Histograms
    from mnist_keras.callbacks.hparams import HParams
    from mnist_keras.callbacks.input_sample import InputSample
    from mnist_keras.callbacks.memory_usage import MemoryUsage
    from mnist_keras.callbacks.mistakes import Mistakes
    from mnist_keras.callbacks.network_graph import NetworkGraph
    from mnist_keras.callbacks.pr_curves import PRCurves
    from mnist_keras.callbacks.profiler import Profiler
    from mnist_keras.callbacks.projector import Projector
    from mnist_keras.callbacks.run_text import RunText
    from mnist_keras.callbacks.weight_norms import WeightNorms

_HOME = {
    "ChartLayout": "chart_layout",
    "ClassScores": "class_scores",
    "ConfusionMatrix": "confusion_matrix",
    "FirstLayerWeights": "first_layer_weights",
    "HParams": "hparams",
    "Histograms": "histograms",
    "InputSample": "input_sample",
    "MemoryUsage": "memory_usage",
    "Mistakes": "mistakes",
    "NetworkGraph": "network_graph",
    "PRCurves": "pr_curves",
    "Profiler": "profiler",
    "Projector": "projector",
    "RunText": "run_text",
    "WeightNorms": "weight_norms",
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
    "FirstLayerWeights",
    "GracefulShutdown",
    "HParams",
    "Histograms",
    "InputSample",
    "Interrupted",
    "MemoryUsage",
    "Mistakes",
    "NetworkGraph",
    "PRCurves",
    "Profiler",
    "Progress",
    "Projector",
    "RunText",
    "StepLogger",
    "WeightNorms",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
