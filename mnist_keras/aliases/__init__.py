"""Earlier import paths: each file here stands for the module it imports.

This folder is on the search path of `mnist_keras`, and its subfolders are on those of
`mnist_keras.data` and `mnist_keras.callbacks`, so ``import mnist_keras.networks`` still works.
"""
