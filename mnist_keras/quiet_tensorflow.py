"""TensorFlow's start without its chatter, for the command line."""

import contextlib
import os
import sys
import tempfile


def import_tensorflow():
    """Import TensorFlow and Keras, find the devices, and keep to errors from then on.

    TensorFlow 2.21 logs some lines while it is loaded whatever ``TF_CPP_MIN_LOG_LEVEL`` says, so
    stderr is held back meanwhile; where the import fails, what it said comes out.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with _stderr_held_back():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _stderr_held_back():
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(original, held_back.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
