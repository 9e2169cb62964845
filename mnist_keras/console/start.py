"""Imports TensorFlow and Keras without the lines that TensorFlow logs, and sets them up."""

import contextlib
import gc
import os
import sys
import tempfile

from mnist_keras.console import threads


def import_quietly() -> None:
    """Import TensorFlow and Keras without the lines that TensorFlow logs meanwhile.

    For a notebook or a program, as its first line: later, TensorFlow has written them already.
    From then on TensorFlow logs errors of its C++ code alone, and its warnings in Python as ever.
    With ``TF_CPP_MIN_LOG_LEVEL`` in the environment, or if TensorFlow is imported, it does nothing.

    Example:

    >>> import mnist_keras
    >>> mnist_keras.import_quietly()
    """
    if "tensorflow" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with stderr_held_back(), _named_temporary_directory():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()


def import_tensorflow(*, quiet=True, silent=False, parts=1):
    """Import TensorFlow and Keras, find the devices, and log only errors from then on.

    Keras gets its own defaults instead of the settings in the user's ``keras.json``.
    TensorFlow 2.21 logs some lines during its import, whatever ``TF_CPP_MIN_LOG_LEVEL`` says. So
    stderr is held back during the import; if the import fails, the held-back text is printed.

    Args:
        quiet: False leaves TensorFlow's logging unchanged.
        silent: hide errors in the log too; they are also raised as exceptions.
        parts: the number of parts of a batch that are computed in parallel, see
            `mnist_keras.console.threads`.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if quiet:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if silent else "2")
    held_back = stderr_held_back() if quiet else contextlib.nullcontext()
    with _no_garbage(), held_back, _named_temporary_directory():
        import keras
        import tensorflow as tf

        # The user's keras.json must not change the numbers of a run.
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        if quiet:
            tf.get_logger().setLevel("ERROR")
        threads.set_threads(parts)
        tf.config.list_physical_devices()


@contextlib.contextmanager
def _no_garbage():
    """Exclude the objects created in this context from garbage collection, now and later.

    TensorFlow's modules have half a million objects, which live until the process ends. Searching
    them takes a third of the import's time, and 0.2 s at each later full collection.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
    gc.freeze()


@contextlib.contextmanager
def _named_temporary_directory():
    """Name any temporary directory in this context if there is none that can be written.

    TensorFlow's import asks for its name, for a flag of absl's tests, and fails without one.
    """
    try:
        tempfile.gettempdir()
    except OSError:
        tempfile.tempdir = os.sep
    try:
        yield
    finally:
        if tempfile.tempdir == os.sep:
            tempfile.tempdir = None


@contextlib.contextmanager
def stderr_held_back():
    """Hold back all output on stderr, also from C++; print it if an error occurs.

    Without a temporary directory that can be written, nothing is held back.
    """
    with contextlib.suppress(OSError):  # A closed stderr must not end the program.
        sys.stderr.flush()
    file = None
    with contextlib.suppress(OSError):
        file = tempfile.TemporaryFile()  # noqa: SIM115
    if file is None:
        yield
        return
    original = os.dup(2)
    with file as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except Exception:  # Not BaseException: an interruption is not a failure.
            held_back.seek(0)
            with contextlib.suppress(OSError):
                os.write(original, held_back.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
