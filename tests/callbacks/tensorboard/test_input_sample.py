import doctest
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mnist_keras.callbacks.tensorboard import drawing, input_sample
from mnist_keras.callbacks.tensorboard.input_sample import InputSample
from mnist_keras.data.order import epoch_order

pytestmark = pytest.mark.slow


def picture_at(written, step):
    plugin, (_, _, png) = written["input_sample"][step]
    assert plugin == "images"
    return np.asarray(Image.open(io.BytesIO(png)))


def drawn(images, labels):
    captions = [str(label) for label in labels]
    return np.asarray(drawing.grid(drawing.gray(images), captions, columns=5))


def test_it_shows_the_first_batch_as_the_network_sees_it(
    make_model, stream, examples, tmp_path, summaries_of
):
    callback = InputSample(tmp_path, lambda: next(iter(stream)), every_epochs=1, most=6)
    make_model().fit(stream, epochs=2, verbose=0, callbacks=[callback])
    images, labels = examples
    written = summaries_of(tmp_path)
    for epoch in range(2):
        first = epoch_order(65, seed=5, epoch=epoch)[:6]
        found = picture_at(written, 7 * (epoch + 1))
        np.testing.assert_array_equal(found, drawn(images[first], labels[first]))


@pytest.mark.parametrize(("every_epochs", "epochs"), [(2, [1, 2, 4, 5]), (10, [1, 5])])
def test_the_sample_is_written_after_the_first_epoch(
    every_epochs, epochs, make_plain, stream, tmp_path, summaries_of
):
    model = make_plain()
    callback = InputSample(tmp_path, lambda: next(iter(stream)), every_epochs=every_epochs)
    # An extra last epoch's sample is replaced by later ones; the first epoch's is kept.
    for first, last in ((0, 1), (1, 3), (3, 5)):
        model.fit(stream, initial_epoch=first, epochs=last, verbose=0, callbacks=[callback])
    assert list(summaries_of(tmp_path)["input_sample"]) == [7 * epoch for epoch in epochs]


@pytest.mark.parametrize("labels", [[3, 1], [[0, 0, 0, 1], [0, 1, 0, 0]]])
def test_labels_may_be_integers_or_one_hot(labels, make_plain, stream, tmp_path, summaries_of):
    images = np.linspace(0, 1, 2 * 28 * 28).reshape(2, 28, 28)
    callback = InputSample(tmp_path, lambda: (images, np.array(labels)))
    make_plain().fit(stream, verbose=0, callbacks=[callback])
    np.testing.assert_array_equal(picture_at(summaries_of(tmp_path), 7), drawn(images, [3, 1]))


@pytest.mark.parametrize(
    ("y", "captions"),
    [
        (np.array([3, 0]), ["3", "cat"]),
        (np.array([[0.25], [-2.0]]), ["0.25", "-2"]),
        (np.zeros((2, 4, 4)), None),
        ((np.array([3, 0]), np.array([1, 1])), None),
        (None, None),
    ],
)
def test_captions_are_classes_or_numbers(y, captions, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        input_sample.drawing, "grid", lambda images, texts, **_: found.append((images, texts))
    )
    monkeypatch.setattr(input_sample.drawing, "image_summary", lambda *_, **__: None)
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    x = {"a": np.zeros((2, 20)), "b": images}
    batch = x if y is None else (x, y, np.ones(2))
    callback = InputSample(tmp_path, lambda: batch, class_names=["cat"])
    list(callback.summaries())
    ((shown, texts),) = found
    np.testing.assert_array_equal(shown, images)
    assert texts == captions


def test_sparse_and_ragged_parts_beside_images_are_left_out(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        input_sample.drawing, "grid", lambda images, texts, **_: found.append((images, texts))
    )
    monkeypatch.setattr(input_sample.drawing, "image_summary", lambda *_, **__: None)
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    sparse = tf.sparse.from_dense(np.eye(3))
    for y in (sparse, tf.ragged.constant([[1], [2, 3], [4]])):
        callback = InputSample(tmp_path, lambda y=y: ((sparse, images), y), most=2)
        list(callback.summaries())
        np.testing.assert_array_equal(found[-1][0], images[:2])
        assert found[-1][1] is None
    assert len(found) == 2


def test_the_example_is_true():
    assert doctest.testmod(input_sample).failed == 0
