"""The files of a sweep of the learning rate: curves and a picture for TensorBoard, and a PNG."""

import itertools
import pathlib
from collections.abc import Sequence

from mnist_keras.annotations import StrPath
from mnist_keras.callbacks import range_test
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.sweep_picture import sweep_picture
from mnist_keras.checkpoint import storage
from mnist_keras.errors import MnistKerasError
from mnist_keras.inputs.local_path import local_path

TAG = "loss_by_learning_rate"
_HERE = "."


def directory(logdir: StrPath) -> pathlib.Path:
    """The directory of a run's sweep.

    It lies two levels below the run's: an `EventLog` of the run cuts the files one level below when
    the run begins.
    """
    return pathlib.Path(local_path(logdir)) / "sweeps" / "learning_rate"


def picture_file(logdir: StrPath) -> pathlib.Path:
    """The file of the picture of a sweep, a PNG."""
    return directory(logdir) / "curve.png"


def write(
    logdir: StrPath, rates: Sequence[float], losses: Sequence[float], *, suggested: float | None
) -> None:
    """Write a sweep; an earlier one of the same run is replaced.

    Args:
        logdir: the run's directory.
        rates, losses: of each step.
        suggested: the suggested rate, or None.

    Raises:
        MnistKerasError: the files cannot be written.
    """
    smoothed = range_test.smoothed_losses(rates, losses)
    log = EventLog(directory(logdir), step=0, only=_HERE)
    values = itertools.zip_longest(rates, losses, smoothed)
    for step, (rate, loss, mean) in enumerate(values):
        points = {"loss": loss, "learning_rate": rate}
        log.scalars(_HERE, points if mean is None else {**points, "smoothed_loss": mean}, step)
    if len(smoothed):
        picture = sweep_picture(rates, losses, smoothed, suggested=suggested)
        said = "no suggestion" if suggested is None else f"suggested: {suggested:.2g}"
        summary = drawing.image_summary(TAG, picture, description=f"Learning rate: {said}.")
        log.summary(_HERE, summary, len(rates) - 1)
    log.close()
    _write_picture(picture_file(logdir), drawing.png(picture) if len(smoothed) else None)


def _write_picture(path, data):
    """Write the file; None: remove that of an earlier sweep."""
    try:
        if data is None:
            path.unlink(missing_ok=True)
        else:
            storage.write_file(path, data)
    except OSError as error:
        raise MnistKerasError(
            f"the picture cannot be written: {error.strerror or error}. Received: {path}. "
            "Expected: a directory with space left."
        ) from error
