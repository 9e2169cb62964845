"""`mnist_keras.checkpoint.training_state` by its earlier name."""

import sys

from mnist_keras.checkpoint import training_state

sys.modules[__name__] = training_state
