"""`mnist_keras.model.multi_step` by its earlier name."""

import sys

from mnist_keras.model import multi_step

sys.modules[__name__] = multi_step
