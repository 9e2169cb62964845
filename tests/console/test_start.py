import gc
import logging
import os
import subprocess
import sys
import types

import keras  # noqa: F401 - its import needs the real TensorFlow
import pytest

from mnist_keras.console.start import import_tensorflow


@pytest.fixture
def start_as(monkeypatch):
    """Let the start of TensorFlow say something on stderr and then end in a certain way."""
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


def test_what_tensorflow_says_at_its_start_is_held_back(start_as, capfd):
    import_tensorflow()
    os.write(2, b"later\n")
    assert capfd.readouterr() == ("", "later\n")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_where_the_start_fails_what_tensorflow_said_comes_out(start_as, capfd):
    start_as(ImportError("no library"))
    with pytest.raises(ImportError, match="no library"):
        import_tensorflow()
    os.write(2, b"later\n")
    assert capfd.readouterr() == ("", "chatter\nlater\n")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interruption_of_the_start_is_quiet(interruption, start_as, capfd):
    start_as(interruption)
    with pytest.raises(type(interruption)):
        import_tensorflow()
    assert capfd.readouterr() == ("", "")


def test_a_debugger_hears_everything_on_the_same_backend(start_as, capfd):
    import_tensorflow(quiet=False)
    assert capfd.readouterr() == ("", "chatter\n")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


@pytest.mark.slow
def test_what_tensorflow_loads_is_not_searched_for_garbage_and_all_else_is():
    script = (
        "import gc; from mnist_keras.console.start import import_tensorflow\n"
        "searches = []; gc.callbacks.append(lambda phase, info: searches.append(phase))\n"
        "import_tensorflow(); print(searches, len(gc.get_objects()) < 1000, gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[] True True\n"


@pytest.mark.slow
def test_each_part_of_a_batch_gets_a_thread_of_its_own():
    script = (
        "from mnist_keras.console.start import import_tensorflow; import_tensorflow(parts=2)\n"
        "import tensorflow as tf; t = tf.config.threading\n"
        "print(t.get_inter_op_parallelism_threads(), t.get_intra_op_parallelism_threads() >= 1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "2 True\n"


def test_who_has_switched_garbage_collection_off_finds_it_off():
    gc.disable()
    try:
        import_tensorflow()
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
