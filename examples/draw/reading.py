"""Read digits from the bytes of a drawing or a photo with a trained network."""

import base64
import io
import pathlib
import threading

import numpy as np
from PIL import Image

from mnist_keras.app.config import RunConfig
from mnist_keras.app.evaluate import finished_run
from mnist_keras.app.model_file import open_model_file, require_shape
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.data.datasets.descriptions import MNIST
from mnist_keras.errors import UsageError
from mnist_keras.photos.photo import find_digits
from mnist_keras.photos.photo_file import read_photo
from mnist_keras.photos.reading import in_time
from mnist_keras.probabilities import probabilities

_BATCH_SIZE = 100
_PREVIEW_PIXELS = 1000  # of the longer side
_LOGITS = "categorical_crossentropy"


def find_model(path):
    """(the file of a network, the loss that it was trained with, or None if it is unknown).

    Args:
        path: the directory of a finished run, or a ``.keras`` file.

    Raises:
        UsageError: the path is neither of these.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        run = finished_run(RunConfig(logdir=str(path.absolute().parent), run_name=path.name))
        return run.model, run.stored_recipe()["loss"]
    if not path.is_file():
        raise UsageError(
            f"the model does not exist. Received: {path}. "
            "Expected: the directory of a finished run, such as logs/first, or a .keras file."
        )
    run = RunDirectory(path.parent)
    is_of_run = path.name == "model.keras" and run.recipe.exists()
    stored = run.stored_recipe() if is_of_run else None
    return path, None if stored is None else stored["loss"]


class Reader:
    """A trained network that reads pictures.

    Args:
        path: the file of the network.
        loss: the loss that it was trained with. None: its scores are taken as probabilities if its
            last layer is a softmax or a sigmoid, otherwise as logits.

    Raises:
        UsageError: the network does not take 28x28 pixels or does not have ten classes.
        MnistKerasError: the file cannot be opened.
    """

    def __init__(self, path, *, loss=None):
        from mnist_keras.callbacks.inference import last_activation

        self._network, self._lock = open_model_file(path), threading.Lock()
        self._activation = last_activation(self._network)
        gives_probabilities = self._activation in ("softmax", "sigmoid")
        self._loss = loss if loss or gives_probabilities else _LOGITS
        self._shape = require_shape(
            self._network, path, description=MNIST, any_layout=True, error=UsageError
        )
        for count in (1, 2):  # The second shape makes TensorFlow trace for any count.
            self._probabilities(np.zeros((count, *MNIST.image_shape), np.uint8))

    def read(self, data, *, most_pixels, deadline=None, with_preview=False):
        """The digits in a picture, prepared and read as ``main.py --mode=predict`` does.

        Args:
            data: the bytes of a file that `mnist_keras.photos.photo_file.read_photo` takes.
            most_pixels: the maximum number of pixels of the picture.
            deadline: a `mnist_keras.inputs.deadline.Deadline`; None: no end.
            with_preview: add a small picture as it was read: grey and upright.

        Returns:
            A dict for JSON: ``size`` (width, height) in pixels, and ``digits`` in reading order,
            each with its ten ``probabilities``, ``box`` (x, y, width, height) in pixels and
            ``image``, its 28x28 bytes in base64; ``preview``, a JPEG in base64.

        Raises:
            DataError: the picture cannot be read, or not in time.
        """
        with in_time("the picture"):
            photo = read_photo(io.BytesIO(data), most_pixels=most_pixels, deadline=deadline)
            digits = find_digits(photo.grey, deadline=deadline)
        images = np.array([digit.image for digit in digits], np.uint8)
        answer = {
            "size": photo.size,
            "digits": [
                {
                    "probabilities": [round(float(chance), 4) for chance in chances],
                    "box": [int(number) for number in photo.in_own_pixels(digit.box)],
                    "image": _base64(digit.image.tobytes()),
                }
                for digit, chances in zip(digits, self._probabilities(images), strict=True)
            ],
        }
        if with_preview:
            answer["preview"] = _base64(_jpeg(photo.grey))
        return answer

    def _probabilities(self, images):
        images = MNIST.preprocess(images).reshape(-1, *self._shape)
        batches = [images[i : i + _BATCH_SIZE] for i in range(0, len(images), _BATCH_SIZE)]
        with self._lock:
            scores = [np.asarray(self._network.predict_on_batch(batch)) for batch in batches]
        return probabilities(
            np.concatenate([np.zeros((0, MNIST.classes)), *scores]),
            loss=self._loss,
            activation=self._activation,
        )


def _jpeg(grey):
    picture, file = Image.fromarray(grey), io.BytesIO()
    picture.thumbnail((_PREVIEW_PIXELS, _PREVIEW_PIXELS))
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


def _base64(data):
    return base64.b64encode(data).decode()
