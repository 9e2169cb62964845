"""``--mode=predict``: what a run's network reads in photos of handwriting and in IDX files."""

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mnist_keras.annotations import Box, StrPath
from mnist_keras.app.config import RunConfig
from mnist_keras.app.evaluate import finished_run, open_model
from mnist_keras.checkpoint import storage
from mnist_keras.console.start import import_tensorflow
from mnist_keras.console.terminal import printable
from mnist_keras.data.formats.idx import is_idx, read_idx
from mnist_keras.errors import DataError, MnistKerasError

if TYPE_CHECKING:
    from mnist_keras.photos.photo_file import Photo

_BATCH_SIZE = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """The digits of one file, as the network gets them.

    Attributes:
        path: the file.
        images: uint8 (n, 28, 28), ink up to 255 on 0, in reading order.
        boxes: for each its (x, y, width, height) in pixels of the upright photo.
        photo: the `mnist_keras.photos.photo_file.Photo`; None: the file is IDX.
    """

    path: StrPath
    images: np.ndarray
    boxes: list[Box]
    photo: "Photo | None" = None


def predict(config: RunConfig) -> int:
    """Read each file and print the digits in it, each with its probability.

    A file that cannot be read is told of on stderr, in a line, and the others are read all the
    same.

    Args:
        config: a ``mnist_keras.app.config.RunConfig`` with the run's name and the files' paths.

    Returns:
        The exit status: 1 where some file could not be read, else 0.

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
            print(f"error: {error}", file=sys.stderr, flush=True)
    images = np.concatenate([np.zeros((0, 28, 28), np.uint8), *(r.images for r in readings)])
    chances: npt.NDArray[np.float64] = np.zeros((0, 10))
    if len(images):
        import_tensorflow(quiet=not config.debug)
        scores = open_model(run).predict(
            images / np.float32(255), batch_size=_BATCH_SIZE, verbose=0
        )
        chances = probabilities(scores, loss=config.loss)
    ends = np.cumsum([len(reading.images) for reading in readings])
    chances_of = np.split(chances, ends[:-1]) if readings else []
    for reading, chance in zip(readings, chances_of, strict=True):
        print(_as_json(reading, chance) if config.json else _as_text(reading, chance))
    if config.contact_sheet is not None:
        _write_contact_sheet(config.contact_sheet, readings, chances_of)
    return int(len(readings) < len(config.paths))


def read(path: StrPath) -> Reading:
    """The digits in a photo, prepared as MNIST's were, or the images of an IDX file as they are.

    Returns:
        A `Reading`.

    Raises:
        DataError: the file is neither, is damaged or holds anything else.

    Example:

    >>> from mnist_keras.data import write_idx
    >>> write_idx("digits-idx3-ubyte", np.zeros((2, 28, 28), np.uint8))
    >>> read("digits-idx3-ubyte").boxes
    [(0, 0, 28, 28), (0, 0, 28, 28)]
    """
    if _is_idx(path):
        images = read_idx(path)
        if images.dtype != np.uint8 or images.shape[-2:] != (28, 28) or images.ndim > 3:
            raise DataError(
                f"{os.fspath(path)!r} holds no images of digits. Received: {images.dtype} "
                f"{images.shape}. Expected: uint8 (n, 28, 28)."
            )
        images = images.reshape(-1, 28, 28)
        return Reading(path, images, [(0, 0, 28, 28)] * len(images))
    from mnist_keras.photos.photo import find_digits
    from mnist_keras.photos.photo_file import read_photo

    photo = read_photo(path)
    digits = find_digits(photo.grey)
    images = np.array([digit.image for digit in digits], np.uint8).reshape(-1, 28, 28)
    return Reading(path, images, [photo.in_own_pixels(digit.box) for digit in digits], photo)


def _is_idx(path):
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return is_idx(file.read(3))
    except OSError:
        return False  # Reading it as a photo will say why.


def probabilities(scores: npt.ArrayLike, *, loss: str) -> npt.NDArray[np.float64]:
    """The scores of a network as probabilities of the ten digits, (n, 10), each row's sum 1.

    Crossentropy trains scores whose softmax is a probability. Squared error trains them to be the
    probabilities themselves, as its minimum is the mean of the 0s and 1s that it is shown; but
    nothing keeps a score in [0, 1] or their sum at 1. So the nearest point that has both is taken:
    it is at least as near to the truth as the scores are, and the greatest stays the greatest.

    Args:
        scores: (n, 10).
        loss: the name of the loss that the network was trained with, as in ``--loss``.

    Source of the projection: Duchi and others, "Efficient projections onto the l1-ball for learning
    in high dimensions", 2008. Source of what squared error trains: Richard and Lippmann, "Neural
    network classifiers estimate Bayesian a posteriori probabilities", 1991.

    >>> probabilities([[0.75, 0.5, -0.25]], loss="sum_squared_error")
    array([[0.625, 0.375, 0.   ]])
    >>> probabilities([[7.0, 7.0]], loss="categorical_crossentropy")
    array([[0.5, 0.5]])
    """
    scores = np.asarray(scores, np.float64)
    if loss != "sum_squared_error":
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)
    descending = -np.sort(-scores, axis=1)
    counts = np.arange(1, scores.shape[1] + 1)
    excesses = (np.cumsum(descending, axis=1) - 1) / counts
    positive = np.count_nonzero(descending > excesses, axis=1)
    return np.maximum(scores - np.take_along_axis(excesses, positive[:, None] - 1, axis=1), 0)


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
