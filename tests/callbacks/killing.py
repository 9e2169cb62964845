"""Ends a training after a step, as a kill of its process does."""

from mnist_keras.callbacks.base import StepCallback


class Killed(Exception):
    """Simulates the end of a process."""


class Kill(StepCallback):
    """Ends the training after a step, after the checkpoint was saved."""

    priority = 3

    def __init__(self, step):
        super().__init__()
        self._step = step

    def breaks_execution_at(self, step):
        return step == self._step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == self._step:
            raise Killed
