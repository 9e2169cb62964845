"""`mnist_keras.callbacks.tensorboard.event_callback` by its earlier name."""

import sys

from mnist_keras.callbacks.tensorboard import event_callback

sys.modules[__name__] = event_callback
