"""`mnist_keras.app.schedules` by its earlier name."""

import sys

from mnist_keras.app import schedules

sys.modules[__name__] = schedules
