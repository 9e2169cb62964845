import math

import pytest

from mnist_keras.callbacks.tensorboard import sweep_log
from mnist_keras.errors import MnistKerasError


def test_a_loss_that_is_not_finite_has_no_mean(tmp_path, summaries_of):
    sweep_log.write(tmp_path, [0.1, 0.2, 0.4], [1.0, 2.0, math.inf], suggested=None)
    written = summaries_of(sweep_log.directory(tmp_path))
    assert {tag: list(points) for tag, points in written.items()} == {
        "learning_rate": [0, 1, 2],
        "loss": [0, 1, 2],
        "loss_by_learning_rate": [2],
        "smoothed_loss": [0, 1],
    }


def test_a_sweep_without_a_finite_loss_has_no_picture(tmp_path, summaries_of):
    sweep_log.write(tmp_path, [0.1, 0.2], [1.0, 2.0], suggested=None)
    sweep_log.write(tmp_path, [0.1], [math.nan], suggested=None)
    assert set(summaries_of(sweep_log.directory(tmp_path))) == {"loss", "learning_rate"}
    assert not sweep_log.picture_file(tmp_path).exists()


def test_files_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    rows = [0.1, 0.2], [1.0, 2.0]
    (tmp_path / "sweeps").write_text("a file")
    with pytest.raises(MnistKerasError, match=r"^the TensorBoard files cannot be written: Not a d"):
        sweep_log.write(tmp_path, *rows, suggested=None)

    def fail(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep_log.storage, "write_file", fail)
    with pytest.raises(MnistKerasError) as error:
        sweep_log.write(tmp_path / "b", *rows, suggested=None)
    assert str(error.value) == (
        "the picture cannot be written: No space left on device. Received: "
        f"{sweep_log.picture_file(tmp_path / 'b')}. Expected: a directory with space left."
    )
