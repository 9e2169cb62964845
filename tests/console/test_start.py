import doctest
import gc
import logging
import os
import subprocess
import sys
import tempfile
import types

import keras  # noqa: F401 - its import needs the real TensorFlow
import pytest

from mnist_keras.console import start
from mnist_keras.console.start import import_quietly, import_tensorflow
from tests import forks
from tests.command_line import environment


@pytest.fixture
def start_as(monkeypatch):
    """Let the start of TensorFlow write to stderr and then end in a given way."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)

    def list_physical_devices():
        os.write(2, b"chatter\n")
        if ending:
            raise ending[0]

    ending = []
    config = types.SimpleNamespace(list_physical_devices=list_physical_devices)
    monkeypatch.setitem(
        sys.modules,
        "tensorflow",
        types.SimpleNamespace(config=config, get_logger=lambda: logging.getLogger("stand-in")),
    )
    return ending.append


def test_startup_messages_of_tensorflow_are_hidden(start_as, capfd):
    import_tensorflow()
    os.write(2, b"later\n")
    assert capfd.readouterr() == ("", "later\n")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_a_failed_start_shows_tensorflows_messages(start_as, capfd):
    start_as(ImportError("no library"))
    with pytest.raises(ImportError, match="no library"):
        import_tensorflow()
    os.write(2, b"later\n")
    assert capfd.readouterr() == ("", "chatter\nlater\n")


def test_without_a_temporary_directory_nothing_is_held_back(start_as, capfd, monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    with monkeypatch.context() as patched:  # pytest needs one after the test.
        patched.setattr(tempfile, "tempdir", None)
        patched.setattr(tempfile, "_get_default_tempdir", none)
        import_tensorflow()
        assert tempfile.tempdir is None
    assert capfd.readouterr() == ("", "chatter\n")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(143)])
def test_interrupting_the_start_prints_nothing(interruption, start_as, capfd):
    start_as(interruption)
    with pytest.raises(type(interruption)):
        import_tensorflow()
    assert capfd.readouterr() == ("", "")


def test_debug_shows_all_messages_with_the_same_backend(start_as, capfd):
    import_tensorflow(quiet=False)
    assert capfd.readouterr() == ("", "chatter\n")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


@pytest.mark.slow
def test_garbage_collection_skips_only_objects_of_tensorflow():
    script = (
        "import gc; from mnist_keras.console.start import import_tensorflow\n"
        "searches = []; gc.callbacks.append(lambda phase, info: searches.append(phase))\n"
        "import_tensorflow(); print(searches, len(gc.get_objects()) < 1000, gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[] True True\n"


@pytest.mark.slow
def test_each_batch_part_gets_its_own_thread():
    script = (
        "from mnist_keras.console.start import import_tensorflow; import_tensorflow(parts=2)\n"
        "import tensorflow as tf; t = tf.config.threading\n"
        "print(t.get_inter_op_parallelism_threads(), t.get_intra_op_parallelism_threads() >= 1)"
    )
    done = forks.run([sys.executable, "-c", script])
    assert done.stdout == "2 True\n"


def test_disabled_garbage_collection_stays_disabled():
    gc.disable()
    try:
        import_tensorflow()
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()


NOTEBOOK = "import mnist_keras; {}; import os; from mnist_keras import TapeModel; TapeModel()"


@pytest.mark.slow
def test_a_program_can_import_tensorflow_without_its_log_lines():
    def run(line, **variables):
        command = [sys.executable, "-c", NOTEBOOK.format(line)]
        env = environment(**variables)
        return subprocess.run(command, capture_output=True, text=True, env=env).stderr

    assert run("mnist_keras.import_quietly()") == ""
    assert "All log messages" in run("pass")
    # Whoever sets a level wants to see the lines.
    assert "All log messages" in run("mnist_keras.import_quietly()", TF_CPP_MIN_LOG_LEVEL="0")


def test_importing_quietly_changes_nothing_after_tensorflow(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    import_quietly()
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def test_the_example_is_true():
    assert doctest.testmod(start).failed == 0
