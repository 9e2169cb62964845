"""Writes beside the training, one at a time, and says afterwards how it went."""

import concurrent.futures


class BackgroundWriter:
    """Runs one write at a time in a thread of its own.

    Example:

    >>> writer = BackgroundWriter()
    >>> def full():
    ...     raise OSError("no space left")
    >>> writer.start(full)
    >>> writer.wait()
    OSError('no space left')
    >>> writer.wait() is None
    True
    >>> writer.close()
    """

    def __init__(self):
        self._executor = None
        self._writing = None

    def start(self, write):
        """Start ``write()``; `wait` has to come before the next one."""
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._writing = self._executor.submit(write)

    @property
    def is_busy(self):
        """Whether a write was started and not yet waited for."""
        return self._writing is not None

    def wait(self):
        """Wait for the write in flight.

        Returns:
            The OSError it ended with, or None; None too where there was none to wait for.

        Raises:
            Exception: whatever else it ended with.
        """
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
        except OSError as error:
            return error
        return None

    def close(self):
        """End the thread, once the write in flight is done; `wait` still tells of it."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
