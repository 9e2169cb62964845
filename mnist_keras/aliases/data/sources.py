"""`mnist_keras.data.datasets.catalog` by its earlier name."""

import sys

from mnist_keras.data.datasets import catalog

sys.modules[__name__] = catalog
