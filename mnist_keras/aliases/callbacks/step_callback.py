"""`mnist_keras.callbacks.base` by its earlier name."""

import sys

from mnist_keras.callbacks import base

sys.modules[__name__] = base
