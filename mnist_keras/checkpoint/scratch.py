"""A directory for files of the moment, also on a machine without a temporary directory."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from mnist_keras.annotations import StrPath
from mnist_keras.checkpoint import storage


@contextlib.contextmanager
def scratch_directory(near: StrPath) -> Iterator[pathlib.Path]:
    """A new directory, removed at the end of the context.

    Args:
        near: a path of this package's own. Where the system has no temporary directory that can be
            written, the new one lies beside it, under a name that `storage.remove_leftovers`
            removes after a kill.

    Raises:
        OSError: neither of the two can be written.

    Example:

    >>> with scratch_directory("logs/first/model.keras") as directory:
    ...     _ = (directory / "file").write_text("text")
    >>> directory.exists()
    False
    """
    with contextlib.ExitStack() as stack:
        try:
            made = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        except OSError:
            made = storage.temporary_name(pathlib.Path(near))
            storage.make_directories(made)
            stack.callback(storage.remove_quietly, made)
            # Keras and the converters of an export ask for temporary directories of their own.
            stack.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
            tempfile.tempdir = str(made)
        yield made
