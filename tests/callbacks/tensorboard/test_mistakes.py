import doctest
import io

import keras
import numpy as np
import pytest
from PIL import Image

from mnist_keras.callbacks.tensorboard import drawing, mistakes
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.mistakes import Mistakes

# The label of each image, and its scores by the model below.
LABELS = np.array([0, 1, 1, 2, 0])
SCORES = np.array([[8, 1, 1], [6, 3, 1], [9, 0, 1], [1, 1, 8], [0, 6, 4]])
WRONG = {2: "is 1\nnot 0: 90%", 1: "is 1\nnot 0: 60%", 4: "is 0\nnot 1: 60%"}


@pytest.fixture
def images():
    """The first three pixels are the scores; the others make the images distinct."""
    images = np.zeros((5, 4, 4), np.float32)
    images[:, 0, :3] = SCORES / 10
    images[:, 1:, 1] = np.linspace(0.1, 0.9, 5)[:, None]
    return images


@pytest.fixture
def model():
    """Returns the first three pixels."""
    model = keras.Sequential(
        [keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    )
    model.layers[-1].set_weights([np.eye(16, 3)])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    return model


@pytest.fixture
def shown(model, summaries_of, tmp_path):
    """Train for an epoch; returns the picture."""

    def shown(images, labels, **options):
        callback = Mistakes(tmp_path, Exam(images, labels, name="held-out images"), **options)
        model.fit(images, np.eye(3)[labels], verbose=0, callbacks=[callback])
        (step,) = summaries_of(tmp_path)["mistakes"].items()
        assert (step[0], step[1][0]) == (1, "images")
        return np.asarray(Image.open(io.BytesIO(step[1][1][2])))

    return shown


def drawn(images, captions):
    return np.asarray(drawing.grid(drawing.gray(images), captions, columns=5))


def test_the_most_confidently_wrong_image_comes_first(shown, images):
    np.testing.assert_array_equal(shown(images, LABELS), drawn(images[[*WRONG]], WRONG.values()))


def test_at_most_the_requested_number_is_shown(shown, images):
    expected = drawn(images[[2, 1]], [WRONG[2], WRONG[1]])
    np.testing.assert_array_equal(shown(images, LABELS, most=2), expected)


def test_without_mistakes_the_picture_says_so(shown, images):
    found = shown(images, SCORES.argmax(-1))
    np.testing.assert_array_equal(found, np.asarray(drawing.note("no mistakes")))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(mistakes).failed == 0
