"""The errors shown to users: each message is one line, and main.py prints it unchanged.

A message has the form ``what is wrong. Received: x. Expected: y.``
"""

import signal


class MnistKerasError(Exception):
    """Something failed while running: data, disk, NaN. Exit status 1.

    Attributes:
        exit_status: the exit status of main.py.
        is_known_to_all: whether all workers of the training raise it.

    >>> from mnist_keras.callbacks import DivergedError
    >>> issubclass(DivergedError, MnistKerasError)
    True
    """

    exit_status = 1
    is_known_to_all = False


class DataError(MnistKerasError):
    """A data set is missing, damaged or of another kind than its name says.

    >>> from mnist_keras.data import read_idx
    >>> read_idx("no_such_file")
    Traceback (most recent call last):
    mnist_keras.errors.DataError: 'no_such_file' cannot be read. Received: No such file or \
directory. Expected: a readable IDX file.
    """


class UsageError(MnistKerasError, ValueError):
    """A flag or an argument is wrong. Exit status 2. It is also a ``ValueError``.

    >>> from mnist_keras.triggers import every
    >>> every(0)
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: the interval in steps is wrong. Received: 0. Expected: an \
integer of at least 1.
    """

    exit_status = 2


class Interrupted(SystemExit):
    """A signal stopped training, between two batches; the exit status is 128 + signal.

    Args:
        signum: the signal's number.
        resumable: what can resume the training, for the message.

    Attributes:
        signum: as given.

    Example:

    >>> interrupted = Interrupted(signal.SIGTERM)
    >>> print(interrupted)
    SIGTERM stopped training between two steps; a TapeModel with a Checkpoint can resume from there.
    >>> interrupted.code
    143
    """

    def __init__(self, signum: int, *, resumable: str = "a TapeModel with a Checkpoint") -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self._resumable = resumable

    def __str__(self) -> str:
        name = signal.Signals(self.signum).name
        return (
            f"{name} stopped training between two steps; {self._resumable} can resume from there."
        )
