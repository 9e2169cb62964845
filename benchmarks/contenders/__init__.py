"""Who is timed: each module's ``CONTENDERS`` maps a name to a maker of ``run(epochs)``.

Every maker takes the training set, `mnist_keras.data.Examples`, and gives a function that trains so
many epochs of the tutorial's recipe on it and waits for the end: batches of 200 in file order
through 512-256-10 units, squared error, SGD at 0.001. A module that warms up in its makers says
``WARM_UPS = 0``.
"""

BATCH_SIZE = 200
UNITS = (512, 256, 10)
LEARNING_RATE = 0.001
EVERY_STEPS = 100
