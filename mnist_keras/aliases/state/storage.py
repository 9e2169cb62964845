"""`mnist_keras.checkpoint.storage` by its earlier name."""

import sys

from mnist_keras.checkpoint import storage

sys.modules[__name__] = storage
