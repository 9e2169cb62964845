"""The timed programs: each module's ``CONTENDERS`` maps a name to a maker of ``run(epochs)``.

A maker takes the training set, `mnist_keras.data.Examples`. It returns a function that trains the
given number of epochs of the tutorial's recipe and waits for the end: batches of 200 in file order
through 512-256-10 units, squared error, SGD at 0.001. A module whose makers warm up sets
``WARM_UPS = 0``.
"""

BATCH_SIZE = 200
UNITS = (512, 256, 10)
LEARNING_RATE = 0.001
EVERY_STEPS = 100
