"""`mnist_keras.photos.photo_file` by its earlier name."""

import sys

from mnist_keras.photos import photo_file

sys.modules[__name__] = photo_file
