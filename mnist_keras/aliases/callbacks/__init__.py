"""Earlier import paths of modules that were in `mnist_keras.callbacks`."""
