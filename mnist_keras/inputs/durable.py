"""Makes what was written survive a crash of the machine."""

import errno
import os

from mnist_keras.annotations import StrPath

# Of fsync for a directory: some file systems cannot, Windows never.
_UNSUPPORTED = (errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def sync_directory(path: StrPath) -> None:
    """Flush a directory's entries to the disk with fsync, where the system can do so.

    Raises:
        OSError: the directory cannot be opened or written.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
