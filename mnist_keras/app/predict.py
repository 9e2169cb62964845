"""``--mode=predict``: reads photos of handwriting and IDX files with a run's network."""

import json
import os

import numpy as np
import numpy.typing as npt

from mnist_keras.app.config import RunConfig
from mnist_keras.app.evaluate import finished_run, open_model
from mnist_keras.checkpoint import storage
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import notice, print_line, printable
from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.errors import DataError, MnistKerasError
from mnist_keras.photos.reading import read
from mnist_keras.probabilities import probabilities

_BATCH_SIZE = 1000


def predict(config: RunConfig) -> int:
    """Read each file and print its digits, each with its probability.

    A file that cannot be read gives one line on stderr; the other files are read nevertheless.

    Args:
        config: a ``mnist_keras.app.config.RunConfig`` with the run's name and the paths of the
            files.

    Returns:
        The exit status: 1 if a file could not be read, else 0.

    Raises:
        UsageError: the run has no model yet.
        MnistKerasError: the model cannot be opened or the contact sheet cannot be written.
    """
    run = finished_run(config)
    readings = []
    for path in config.paths:
        try:
            readings.append(read(path))
        except DataError as error:
            notice(f"error: {error}")
    none = np.zeros((0, *MNIST.image_shape), np.uint8)
    images = np.concatenate([none, *(reading.images for reading in readings)])
    chances: npt.NDArray[np.float64] = np.zeros((0, MNIST.classes))
    if len(images):
        import_tensorflow(quiet=not config.debug)
        chances = _probabilities(open_model(run), images, loss=config.loss)
    ends = np.cumsum([len(reading.images) for reading in readings])
    chances_of = np.split(chances, ends[:-1]) if readings else []
    for reading, chance in zip(readings, chances_of, strict=True):
        print_line(_as_json(reading, chance) if config.json else _as_text(reading, chance))
    if config.contact_sheet is not None:
        _write_contact_sheet(config.contact_sheet, readings, chances_of)
    return int(len(readings) < len(config.paths))


def _probabilities(network, images, *, loss):
    from mnist_keras.callbacks.inference import last_activation

    inputs = MNIST.preprocess(images)
    scores = network.predict(inputs, batch_size=_BATCH_SIZE, verbose=0)
    return probabilities(scores, loss=loss, activation=last_activation(network))


def _as_json(reading, chances):
    digits = [
        {
            "digit": int(chance.argmax()),
            "probability": round(float(chance.max()), 6),
            "box": [int(number) for number in box],
        }
        for chance, box in zip(chances, reading.boxes, strict=True)
    ]
    return json.dumps({"file": os.fspath(reading.path), "digits": digits})


def _as_text(reading, chances):
    name = printable(os.fspath(reading.path))
    lines = [f"{name}: {chance.argmax()} {chance.max():.4f}" for chance in chances]
    return "\n".join(lines) or f"{name}: no digit"


def _write_contact_sheet(path, readings, chances_of):
    from mnist_keras.photos.contact_sheet import contact_sheet

    try:
        storage.write_file(path, contact_sheet(readings, chances_of))
    except OSError as error:
        raise MnistKerasError(
            f"the contact sheet cannot be written. Received: {path}: {error.strerror or error}. "
            "Expected: a file in a directory that can be written."
        ) from error
