"""Examples that a model is asked about, for the callbacks that show its answers."""

from mnist_keras.callbacks.tensorboard.exam import Exam

__all__ = ["Exam"]
