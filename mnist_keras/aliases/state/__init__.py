"""`mnist_keras.checkpoint` by its earlier name."""
