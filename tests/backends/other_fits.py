"""Fits that are not a plain resume, and what is refused, as JSON."""

import contextlib
import json
import pathlib
import sys

import keras

from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, LearningRateFinder
from mnist_keras.errors import UsageError
from tests.backends.resumed import EPOCHS, STEPS, Counter, Kill, Killed, X, Y

SEEN = keras.Variable(0.0, trainable=False)


class Seeing(keras.Model):
    """Counts its calls in a variable that only a global name holds."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        SEEN.assign(SEEN + 1)
        return self.dense(x)


def network():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])


def train(*callbacks, make=network, killed_after=None, epochs=EPOCHS, steps_per_execution=1):
    """Train; returns (weights, steps that callbacks saw)."""
    keras.utils.set_random_seed(3)
    model = make()
    model.compile("sgd", "mse", steps_per_execution=steps_per_execution)
    counter = Counter()
    kill = [] if killed_after is None else [Kill(killed_after)]
    with contextlib.suppress(Killed):
        given = {"batch_size": 5, "epochs": epochs, "verbose": 0}
        model.fit(X, Y, callbacks=[*callbacks, counter, *kill], **given)
    for checkpoint in callbacks:
        checkpoint.close()
    return [weight.tolist() for weight in model.get_weights()], counter.seen


def several(directory):
    """Two checkpoints, of which the second one saves the later step."""

    def both():
        return [
            Checkpoint(directory / name, every_steps=every, notice=lambda line: None)
            for name, every in (("early", 4), ("late", 3))
        ]

    expected, _ = train()
    train(*both(), killed_after=7)
    weights, seen = train(*both())
    return {"seen": seen, "is_same": weights == expected}


def anew(directory):
    """A second training that does not resume."""
    train(Checkpoint(directory))
    said = []
    checkpoint = Checkpoint(directory, resume=False, notice=said.append)
    weights, _ = train(checkpoint, epochs=2)
    loaded = network()
    step = checkpoint.load(loaded)
    is_same = [weight.tolist() for weight in loaded.get_weights()] == weights
    return {"step": step, "is_same": is_same, "said": said}


def executions(directory):
    """Two trainings with several steps per execution, the first one is interrupted."""
    expected, _ = train(steps_per_execution=2)
    said = []
    for kill in (3, None):
        checkpoint = Checkpoint(directory, notice=said.append)
        weights, _ = train(checkpoint, steps_per_execution=2, killed_after=kill)
    return {"is_same": weights == expected, "said": said, "is_exact": checkpoint.is_exact}


def captured(directory):
    """The calls that a variable of a global name counts: [without interruption, with one]."""

    def count(*callbacks, **options):
        SEEN.assign(0.0)
        train(*callbacks, make=Seeing, **options)
        return float(SEEN.value)

    whole = count()
    count(Checkpoint(directory), killed_after=STEPS + 2)
    return [whole, count(Checkpoint(directory, notice=lambda line: None))]


def refused():
    """What is said by the classes that need TensorFlow."""
    found = []
    for kind in (TapeModel, LearningRateFinder):
        try:
            kind()
        except UsageError as error:
            found.append(str(error))
    return found


def main(directory):
    found = {"several": several(directory / "several"), "anew": anew(directory / "anew")}
    found["refused"] = refused()
    if keras.backend.backend() == "jax":
        found["executions"] = executions(directory / "executions")
    else:
        found["captured"] = captured(directory / "captured")
    print(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
