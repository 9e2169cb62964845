"""`mnist_keras.photos.photo` by its earlier name."""

import sys

from mnist_keras.photos import photo

sys.modules[__name__] = photo
