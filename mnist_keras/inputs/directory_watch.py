"""Notices that a directory was removed or moved while files are written into it."""

import contextlib
import os

from mnist_keras.annotations import StrPath


class DirectoryWatch:
    """Remembers a directory, so that another one at its path is not taken for it.

    The directory is held open until `close`: a new one then cannot have its number. Where a
    directory cannot be opened, as on Windows, it cannot be removed under open files either.

    Args:
        path: the directory; one that cannot be opened is not watched.

    Example:

    >>> import tempfile
    >>> path = tempfile.mkdtemp()
    >>> watch = DirectoryWatch(path)
    >>> os.rmdir(path)
    >>> watch.is_gone()
    True
    >>> watch.close()
    """

    def __init__(self, path: StrPath) -> None:
        self._path = os.path.abspath(path)
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_RDONLY)

    def is_gone(self) -> bool:
        """Whether the directory is no longer at its path."""
        if self._descriptor is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # A disk that cannot be reached now.
            return False

    def close(self) -> None:
        """End the watch; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
