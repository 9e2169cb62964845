"""The losses that StepLogger logs, beside those that are computed from the weights, as JSON."""

import contextlib
import io
import json

import keras
import numpy as np

from mnist_keras.callbacks import StepLogger, WeightNorms
from mnist_keras.callbacks.base import StepCallback
from mnist_keras.checkpoint import backends


class Weights(StepCallback):
    """Keeps the weights before each step."""

    def __init__(self):
        super().__init__()
        self.before = []

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch, logs)
        backends.synchronize(self.model)
        self.before.append([backends.host_array(v) for v in self.model.trainable_variables])


def main(directory):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(22, 3)).astype("float32")
    a, b = (rng.normal(size=(22, 1)).astype("float32") for _ in range(2))
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = keras.Model(inputs, outputs)
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model.compile(keras.optimizers.SGD(rate), loss={"a": "mse", "b": "mse"})
    weights, printed = Weights(), io.StringIO()
    logger = StepLogger(directory, every_steps=2, also_print=("a_loss", "b_loss", "learning_rate"))
    with contextlib.redirect_stdout(printed):
        data = {"batch_size": 5, "epochs": 2, "shuffle": False, "verbose": 0}
        callbacks = [weights, logger, WeightNorms(directory)]
        model.fit(x, {"a": a, "b": b}, callbacks=callbacks, **data)
    expected = []
    for step in range(0, 10, 2):
        part = slice(5 * (step % 5), 5 * (step % 5) + 5)
        errors = []
        for kernel, bias, y in zip(*[iter(weights.before[step])] * 2, (a, b), strict=True):
            errors.append(float(np.mean((x[part] @ kernel + bias - y[part]) ** 2)))
        expected.append([sum(errors), *errors, 0.1 * 0.5**step])
    lines = [line.split() for line in printed.getvalue().splitlines()]
    logged = [[float(word) for word in line[3::2]] for line in lines if len(line) > 1]
    names = [line[2::2] for line in lines if len(line) > 1]
    norms = [float(np.linalg.norm(weights.before[step][0])) for step in (0, 5)]
    print(json.dumps({"expected": expected, "logged": logged, "names": names, "norms": norms}))


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
