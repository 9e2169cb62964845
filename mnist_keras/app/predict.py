"""``--mode=predict``: reads photos of handwriting and IDX files with a run's network."""

import json
import os

import numpy as np
import numpy.typing as npt

from mnist_keras.app.config import RunConfig
from mnist_keras.app.evaluate import finished_run, open_model
from mnist_keras.checkpoint import storage
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import notice, print_line, print_pieces
from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.data.sharded import Sharded
from mnist_keras.errors import DataError, MnistKerasError, UsageError
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
    _require_own_file(config.contact_sheet, config.paths)
    readings = []
    for path in config.paths:
        try:
            readings.append(read(path))
        except DataError as error:
            notice(f"error: {error}")
    chances: npt.NDArray[np.float64] = np.zeros((0, MNIST.classes))
    if any(len(reading.images) for reading in readings):
        import_tensorflow(quiet=not config.debug)
        images = Sharded([reading.images for reading in readings])
        chances = _probabilities(open_model(run), images, loss=config.loss)
    ends = np.cumsum([len(reading.images) for reading in readings])
    chances_of = np.split(chances, ends[:-1]) if readings else []
    for reading, its_chances in zip(readings, chances_of, strict=True):
        _print(reading, its_chances, as_json=config.json)
    if config.contact_sheet is not None:
        _write_contact_sheet(config.contact_sheet, readings, chances_of)
    return int(len(readings) < len(config.paths))


def _probabilities(network, images, *, loss):
    from mnist_keras.callbacks.inference import last_activation

    activation = last_activation(network)
    chances = np.zeros((len(images), MNIST.classes))
    for begin in range(0, len(images), _BATCH_SIZE):
        part = slice(begin, begin + _BATCH_SIZE)
        # Not network.predict: all images as floats take four times their memory.
        scores = network.predict_on_batch(MNIST.preprocess(np.asarray(images[part])))
        chances[part] = probabilities(scores, loss=loss, activation=activation)
    return chances


def _print(reading, chances, *, as_json):
    if as_json:
        print_pieces(_json_pieces(reading, chances))
        return
    name = os.fspath(reading.path)
    for chance in chances:
        print_line(f"{name}: {chance.argmax()} {chance.max():.4f}")
    if not len(chances):
        print_line(f"{name}: no digit")


def _json_pieces(reading, chances):
    """The parts of one line of JSON, which may be too long for the memory."""
    yield f'{{"file": {json.dumps(os.fspath(reading.path))}, "digits": ['
    for number, (chance, box) in enumerate(zip(chances, reading.boxes, strict=True)):
        digit = {
            "digit": int(chance.argmax()),
            "probability": round(float(chance.max()), 6),
            "box": [int(number) for number in box],
        }
        yield f"{', ' if number else ''}{json.dumps(digit)}"
    yield "]}"


def _require_own_file(path, photos):
    """Refuse a contact sheet that would replace a directory or one of the photos."""
    if path is None or not os.path.exists(path):
        return
    is_photo = any(os.path.exists(photo) and os.path.samefile(path, photo) for photo in photos)
    if is_photo or not os.path.isfile(path):
        kind = "one of the photos" if is_photo else "not a file"
        raise UsageError(
            f"--contact_sheet would replace what is there. Received: {path}, {kind}. "
            "Expected: a new file, or an earlier contact sheet."
        )


def _write_contact_sheet(path, readings, chances_of):
    from mnist_keras.photos.contact_sheet import contact_sheet

    try:
        storage.write_file(path, contact_sheet(readings, chances_of))
    except OSError as error:
        raise MnistKerasError(
            f"the contact sheet cannot be written. Received: {path}: {error.strerror or error}. "
            "Expected: a file in a directory that can be written."
        ) from error
