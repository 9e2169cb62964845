import doctest

from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from mnist_keras.app import hyperparameters as module
from mnist_keras.app.hyperparameters import hyperparameters
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.hparams import flat
from mnist_keras.data.formats.record_framing import frame


def write(logdir, **recipe):
    """Write what `HParams` writes."""
    log = EventLog(logdir, step=0)
    log.scalar(".", "loss", 0.5, 0)
    log.summary(".", hparams_pb(flat(recipe), trial_id=""), 0)
    log.close()


def test_every_kind_of_value_is_read_as_text(tmp_path):
    write(tmp_path, width=1234567, rate=1e-5, shuffle=True, loss="mse", decay=None, layers=[64, 10])
    assert list(hyperparameters(tmp_path).items()) == [
        ("decay", "none"),
        ("layers", "[64, 10]"),
        ("loss", "mse"),
        ("rate", "1e-05"),
        ("shuffle", "true"),
        ("width", "1234567"),
    ]


def test_a_run_without_hyperparameters_has_none(tmp_path):
    assert hyperparameters(tmp_path) is None
    log = EventLog(tmp_path, step=0)
    log.scalar(".", "loss", 0.5, 0)
    log.close()
    assert hyperparameters(tmp_path) is None


def test_a_file_cut_off_by_a_crash_is_read(tmp_path):
    write(tmp_path, width=512)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b"cut")
    assert hyperparameters(tmp_path) == {"width": "512"}
    path.write_bytes(path.read_bytes()[:-10])
    assert hyperparameters(tmp_path) is None


def test_hyperparameters_after_a_damaged_record_are_read(tmp_path):
    write(tmp_path, width=512)
    (path,) = tmp_path.iterdir()
    path.write_bytes(frame(b"\xff" * 9) + b"damaged" + path.read_bytes())
    assert hyperparameters(tmp_path) == {"width": "512"}


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(module).failed == 0
