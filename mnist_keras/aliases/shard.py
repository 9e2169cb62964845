"""`mnist_keras.app.shard` by its earlier name, also for ``python -m mnist_keras.shard``."""

import sys

from mnist_keras.app.shard import main

if __name__ == "__main__":
    sys.exit(main())
