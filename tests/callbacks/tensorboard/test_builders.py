import doctest
import io
import wave

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib import pyplot
from PIL import Image
from tensorboard.util.tensor_util import make_ndarray

from mnist_keras.callbacks.tensorboard import builders
from mnist_keras.errors import UsageError

GRAYS = np.array([[0, 51], [102, 255]], np.uint8)


def picture(summary):
    """The pixels that a summary shows, uint8 (height, width) or (height, width, 3)."""
    width, height, png = make_ndarray(summary.value[0].tensor)
    image = Image.open(io.BytesIO(png))
    assert (int(width), int(height)) == image.size
    return np.asarray(image.convert("L") if image.mode == "P" else image)


@pytest.mark.parametrize(
    "image",
    [
        GRAYS,
        GRAYS[..., None],
        GRAYS / 255,
        tf.constant(GRAYS / 255, tf.float32),
        keras.ops.convert_to_tensor(GRAYS / np.float32(255)),
        (GRAYS / 255).tolist(),
        GRAYS / 255 + [[-0.001, 0], [0, 0.001]],
    ],
)
def test_an_image_is_shown_pixel_for_pixel(image):
    assert picture(builders.image("digit", image)).tolist() == GRAYS.tolist()


def test_a_tensor_of_a_graph_is_refused():
    with tf.Graph().as_default(), pytest.raises(UsageError) as error:
        builders.image("digit", tf.zeros((2, 2), name="gray"))
    assert "the image is wrong. Received: <tf.Tensor 'gray:0' shape=(2, 2)" in str(error.value)


def test_half_precision_flags_and_nan_are_shown():
    levels = [[0.0, 0.2], [np.nan, 1.0]]
    for dtype in (tf.bfloat16, tf.float16):
        shown = picture(builders.image("digit", tf.constant(levels, dtype)))
        np.testing.assert_allclose(shown, [[0, 51], [0, 255]], atol=1)
    assert picture(builders.image("mask", [[True, False]])).tolist() == [[255, 0]]


def test_colours_are_shown():
    colours = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert picture(builders.image("photo", colours)).tolist() == colours.tolist()
    assert picture(builders.images("photos", colours[None])).shape[-1] == 3


WRONG = {
    "a range": (np.array([[-1.0, 1.0]]), "float64 of shape (1, 2) from -1 to 1"),
    "pixels in floats": (GRAYS * 1.0, "float64 of shape (2, 2) from 0 to 255"),
    "large integers": (GRAYS.astype(np.int64), "int64 of shape (2, 2) from 0 to 255"),
    "infinite": (np.array([[0.0, np.inf]]), "float64 of shape (1, 2) from 0 to inf"),
    "channels": (np.zeros((2, 2, 4)), "float64 of shape (2, 2, 4) from 0 to 0"),
    "one axis": (np.zeros(4), "float64 of shape (4,) from 0 to 0"),
    "nothing": (np.zeros((0, 2)), "ndarray of shape (0, 2)"),
    "complex": (np.zeros((2, 2), np.complex64), "complex64 of shape (2, 2)"),
    "texts": ([["a"]], "<U1 of shape (1, 1)"),
    "ragged": ([[1.0], [1.0, 2.0]], "[[1.0], [1.0, 2.0]]"),
    "a ragged tensor": (
        tf.ragged.constant([[0.0], [0.0, 1.0]]),
        "<tf.RaggedTensor [[0.0], [0.0, 1.0]]>",
    ),
    "none": (None, "None"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_an_image_is_refused(kind):
    image, received = WRONG[kind]
    with pytest.raises(UsageError) as error:
        builders.image("digit", image)
    assert str(error.value) == (
        f"the image is wrong. Received: {received}. Expected: (height, width) or (height, width, "
        "channels) with 1 or 3 channels; uint8, bool, or floats from 0 to 1."
    )


def test_images_form_a_grid_as_wide_as_high():
    shown = picture(builders.images("samples", np.zeros((5, 28, 28, 1))))
    assert shown.shape == (2 * 90 + 6, 3 * 90 + 6)
    shown = picture(builders.images("samples", np.zeros((5, 28, 28)), columns=5, tile_pixels=28))
    assert shown.shape == (34 + 6, 5 * 34 + 6)


def test_wrong_images_and_captions_are_refused():
    with pytest.raises(UsageError, match=r"the images are wrong.* Expected: \(n, height, width\)"):
        builders.images("samples", np.zeros((28, 28)))
    with pytest.raises(UsageError) as error:
        builders.images("samples", np.zeros((3, 28, 28)), captions=["a"])
    assert str(error.value) == (
        "the captions do not match the images. Received: 1 captions of 3 images. "
        "Expected: a caption for each image."
    )


@pytest.mark.slow
@pytest.mark.parametrize("close", [True, False])
def test_a_figure_is_drawn_and_closed(close):
    figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)
    axes.plot([1, 4, 9])
    shown = picture(builders.figure("squares", figure, close=close))
    assert shown.shape[:2] == (50, 100)
    assert shown[..., :3].min() < 100
    assert pyplot.fignum_exists(figure.number) is not close
    pyplot.close(figure)


def test_what_is_not_a_figure_is_refused():
    with pytest.raises(UsageError) as error:
        builders.figure("squares", 3)
    assert str(error.value) == (
        "the figure is wrong. Received: 3. Expected: a matplotlib.figure.Figure."
    )


@pytest.mark.parametrize("text", ["**bold** 数字", ["a", "b"], [["a", "b"], ["c", "d"]]])
def test_texts_and_tables_are_shown(text):
    found = make_ndarray(builders.text("words", text).value[0].tensor)
    assert np.vectorize(bytes.decode, otypes=[object])(found).tolist() == text


@pytest.mark.parametrize("text", [3, None, b"bytes", ["a", 3], [["a"], ["b", "c"]], [[["a"]]]])
def test_what_is_not_text_is_refused(text):
    with pytest.raises(UsageError) as error:
        builders.text("words", text)
    assert str(error.value) == (
        f"the text is wrong. Received: {text!r}. "
        "Expected: a string, a sequence of strings, or rows of strings."
    )


TONE = np.array([0.0, 0.5, -1.0, 1.0])


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (TONE, [[0, 16384, -32767, 32767]]),
        (np.int16([1, -2, 3]), [[1, -2, 3]]),
        (np.stack([TONE, -TONE], axis=1), [[0, 16384, -32767, 32767], [0, -16384, 32767, -32767]]),
        ([np.nan, 0.5], [[0, 16384]]),
    ],
)
def test_a_sound_has_its_samples_and_its_rate(sound, expected):
    summary = builders.audio("sound", sound, sample_rate=8000)
    ((data, label),) = make_ndarray(summary.value[0].tensor)
    assert label == b""
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, len(expected))
        samples = np.frombuffer(file.readframes(10), "<i2")
    assert samples.reshape(-1, len(expected)).T.tolist() == expected


def test_tensorflow_decodes_the_sound():
    summary = builders.audio("sound", np.stack([TONE, -TONE], axis=1), sample_rate=8000)
    decoded, rate = tf.audio.decode_wav(make_ndarray(summary.value[0].tensor)[0, 0])
    assert int(rate) == 8000
    np.testing.assert_allclose(decoded, np.stack([TONE, -TONE], axis=1), atol=1e-4)


@pytest.mark.parametrize(
    ("sound", "received"),
    [
        (np.array([0.0, 2.0]), "float64 of shape (2,) from 0 to 2"),
        (np.zeros((1, 2, 3)), "float64 of shape (1, 2, 3) from 0 to 0"),
        (np.zeros(4, np.int32), "int32 of shape (4,) from 0 to 0"),
        (np.zeros(0), "ndarray of shape (0,)"),
        ("sound.wav", "<U9 of shape ()"),
    ],
)
def test_what_is_not_a_sound_is_refused(sound, received):
    with pytest.raises(UsageError) as error:
        builders.audio("sound", sound, sample_rate=8000)
    assert str(error.value) == (
        f"the audio is wrong. Received: {received}. Expected: (samples,) or (samples, channels); "
        "int16, or floats from -1 to 1."
    )


@pytest.mark.parametrize("rate", [0, 8000.0, None])
def test_a_wrong_sample_rate_is_refused(rate):
    with pytest.raises(UsageError, match="the sample rate is wrong"):
        builders.audio("sound", TONE, sample_rate=rate)


def test_a_histogram_counts_what_is_finite():
    values = np.array([[0.0, 1.0], [np.nan, 4.0]])
    found = make_ndarray(builders.histogram("weights", values, buckets=2).value[0].tensor)
    assert found.tolist() == [[0, 2, 2], [2, 4, 1]]
    empty = make_ndarray(builders.histogram("weights", [], buckets=2).value[0].tensor)
    assert empty.tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(UsageError, match="Received: <U1 of shape"):
        builders.histogram("weights", ["a"])


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(builders).failed == 0
