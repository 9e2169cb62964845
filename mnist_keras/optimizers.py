"""Optimizers whose update passes over the weights once."""

from mnist_keras.model.optimizers import SGD

__all__ = ["SGD"]
