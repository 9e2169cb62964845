"""The trainings of `benchmarks.resuming`: the same one as a user of each framework writes it.

Each module's ``CONTENDERS`` maps (who, data) to a function of a `Job`. The function sets the seeds
as its framework's documentation says, trains an mlp with dropout by Adam, calls `Job.trained` after
each step, and returns {name: array} of the weights and the same of the optimizer.
"""

import json
import os
import pathlib
import random
import signal
import time

import numpy as np

BATCH_SIZE = 4
EPOCHS = 3
EVERY_STEPS = 5
FEATURES = 8
CLASSES = 3
UNITS = 16
DROPOUT = 0.5
LEARNING_RATE = 0.01
# Steps are so short here that a checkpoint in the background would never be done.
_SECONDS_BEFORE_THE_KILL = 1.0


def plan(seed, *, kills):
    """(steps per epoch, steps of the second epoch after which a training is killed).

    None of them is a step with a checkpoint, so the order of the callbacks does not matter.

    >>> plan(0, kills=2)
    (18, [27, 34])
    """
    chance = random.Random(seed)
    per_epoch = chance.randint(6, 24)
    steps = [step for step in range(per_epoch + 1, 2 * per_epoch) if step % EVERY_STEPS]
    return per_epoch, sorted(chance.sample(steps, kills))


class Job:
    """A training, of which this process does a part.

    Args:
        directory: for its checkpoints; the same for each process of the training.
        seed: decides the data, their order and the weights.
        kill_after: the number of steps after which this process is killed; None: never.

    Attributes:
        directory, seed: as above.
        x: float32 (examples, 1 + FEATURES); the first column is the example's number.
        y: int64 (examples,).
        steps_per_epoch: the number of batches of an epoch.
    """

    def __init__(self, directory, seed, kill_after=None):
        self.directory = pathlib.Path(directory)
        self.seed = seed
        self.steps_per_epoch, _ = plan(seed, kills=0)
        count = self.steps_per_epoch * BATCH_SIZE
        source = np.random.default_rng(seed)
        features = source.standard_normal((count, FEATURES))
        self.x = np.c_[np.arange(count), features].astype("float32")
        self.y = source.integers(0, CLASSES, count)
        self._kill_after = kill_after
        self._steps = 0

    def begin(self, step):
        """Note the number of steps that the restored state has."""
        self._write({"from": int(step)})

    def trained(self, epoch, numbers):
        """Note a step; kill this process if it is the last one.

        Args:
            epoch: from 0, as the framework counts it.
            numbers: of the examples in its batch.
        """
        self._write({"epoch": int(epoch), "examples": [int(number) for number in numbers]})
        self._steps += 1
        if self._steps == self._kill_after:
            time.sleep(_SECONDS_BEFORE_THE_KILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, line):
        with (self.directory / "steps.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
