"""TensorFlow's start without its chatter, for the command line."""

import contextlib
import gc
import os
import sys
import tempfile

from mnist_keras.console import threads


def import_tensorflow(*, quiet=True, silent=False, parts=1):
    """Import TensorFlow and Keras, find the devices, and keep to errors from then on.

    TensorFlow 2.21 logs some lines while it is loaded whatever ``TF_CPP_MIN_LOG_LEVEL`` says, so
    stderr is held back meanwhile; where the import fails, what it said comes out.

    Args:
        quiet: False lets TensorFlow say what it wants to.
        silent: not even its errors, which are raised besides.
        parts: of a batch that are to be computed side by side, see `mnist_keras.console.threads`.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if quiet:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if silent else "2")
    with _no_garbage(), stderr_held_back() if quiet else contextlib.nullcontext():
        import keras  # noqa: F401
        import tensorflow as tf

        if quiet:
            tf.get_logger().setLevel("ERROR")
        threads.set_threads(parts)
        tf.config.list_physical_devices()


@contextlib.contextmanager
def _no_garbage():
    """What is made meanwhile is never searched for garbage, now or later.

    The half a million objects of TensorFlow's modules stay to the end. To search them takes a
    third of the import's time, and 0.2 s whenever it comes about again.
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
def stderr_held_back():
    """Keep from stderr what is said meanwhile, by C++ too; after an error it comes out."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except Exception:  # Not an interruption: that one is nobody's failure.
            held_back.seek(0)
            os.write(original, held_back.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
