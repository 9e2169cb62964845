"""Callbacks for any ``keras.Model``: logging, checkpoints and clean stops at true steps."""

from mnist_keras.callbacks.averaged_weights import AveragedWeights
from mnist_keras.callbacks.checkpoint import Checkpoint
from mnist_keras.callbacks.divergence_guard import DivergedError, DivergenceGuard
from mnist_keras.callbacks.graceful_shutdown import GracefulShutdown, Interrupted
from mnist_keras.callbacks.progress import Progress
from mnist_keras.callbacks.step_logger import StepLogger

__all__ = [
    "AveragedWeights",
    "Checkpoint",
    "DivergedError",
    "DivergenceGuard",
    "GracefulShutdown",
    "Interrupted",
    "Progress",
    "StepLogger",
]
