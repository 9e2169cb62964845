"""Reading, prediction and probabilities by their earlier name."""

from mnist_keras.app.predict import predict
from mnist_keras.photos.reading import Reading, read
from mnist_keras.probabilities import probabilities

__all__ = ["Reading", "predict", "probabilities", "read"]
