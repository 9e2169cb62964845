"""Runs writes in the background of the training, one at a time, and reports their errors."""

import concurrent.futures


class BackgroundWriter:
    """Runs one write at a time in a separate thread.

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
        """Start ``write()``; call `wait` before the next start."""
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._writing = self._executor.submit(write)

    @property
    def is_busy(self):
        """Whether a write was started and `wait` was not called since."""
        return self._writing is not None

    def wait(self):
        """Wait for the write in flight.

        Returns:
            The OSError that ended the write, or None. Also None if no write was started.

        Raises:
            Exception: any other exception that ended the write.
        """
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
        except OSError as error:
            return error
        return None

    def close(self):
        """End the thread after the write in flight; `wait` still returns its result."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
