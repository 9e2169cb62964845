"""The errors a user meets: each message is one line, and main.py prints it as it stands.

A message has the form ``what is wrong. Received: x. Expected: y.``
"""


class MnistKerasError(Exception):
    """Something failed while running: data, disk, NaN. Exit status 1."""

    exit_status = 1


class DataError(MnistKerasError):
    """A data set is missing, damaged or not what its name promises."""


class UsageError(MnistKerasError, ValueError):
    """A flag or an argument is wrong. Exit status 2."""

    exit_status = 2
