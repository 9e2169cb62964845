"""`mnist_keras.app.networks` by its earlier name."""

import sys

from mnist_keras.app import networks

sys.modules[__name__] = networks
