"""`mnist_keras.app.predict` by its earlier name."""

import sys

from mnist_keras.app import predict

sys.modules[__name__] = predict
