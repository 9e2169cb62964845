"""`mnist_keras.data.datasets.synthetic` by its earlier name."""

import sys

from mnist_keras.data.datasets import synthetic

sys.modules[__name__] = synthetic
