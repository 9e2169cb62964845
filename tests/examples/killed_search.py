"""examples/search.py in a process that is killed in the middle of a trial.

    python -m tests.examples.killed_search TRIAL STEP --logdir=DIRECTORY ...

The kill comes at the first step from STEP on at which that trial has a checkpoint on the disk.
"""

import os
import pathlib
import runpy
import signal
import sys

from mnist_keras import callbacks
from tests.test_examples import EXAMPLES

_TRIAL, _STEP = sys.argv[1:3]
_LOGDIR = pathlib.Path(sys.argv[3].removeprefix("--logdir="))


class Killed(callbacks.GracefulShutdown):
    """Ends the process by SIGKILL."""

    def breaks_execution_at(self, step):
        return step >= int(_STEP)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        is_saved = any((_LOGDIR / _TRIAL / "checkpoints").glob("step-*"))
        if self.step >= int(_STEP) and is_saved:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    callbacks.GracefulShutdown = Killed
    sys.argv[1:3] = []
    runpy.run_path(str(EXAMPLES / "search.py"), run_name="__main__")
