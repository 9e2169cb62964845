import doctest
import gc
import weakref
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_keras import SumSquaredError, TapeModel
from mnist_keras.data import DatasetDescription, batches, map_idx, stream, write_idx
from mnist_keras.data.augmentation import Augmentation
from mnist_keras.data.order import epoch_order
from mnist_keras.errors import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (25, 28, 28), dtype=np.uint8)
LABELS = (np.arange(25) % 10).astype(np.uint8)
# The first pixel identifies the image.
IMAGES[:, 0, 0] = np.arange(25)


def drawn(batch_stream):
    """The numbers of the examples in each batch."""
    return [np.rint(np.asarray(x)[:, 0, 0] * 255).astype(int).tolist() for x, _ in batch_stream]


def test_batches_are_in_file_order_including_the_short_last():
    ten = batches(IMAGES, LABELS, batch_size=10)
    assert drawn(ten) == [[*range(10)], [*range(10, 20)], [*range(20, 25)]]
    assert (len(ten), ten.examples, ten.partial_batch_size) == (3, 25, 5)


def test_a_step_gets_scaled_pixels_and_one_hot_labels():
    [(x, y)] = batches(IMAGES, LABELS, batch_size=25)
    assert (x.dtype, y.dtype) == (tf.float32, tf.float32)
    np.testing.assert_allclose(x, IMAGES.astype(np.float32) / 255, rtol=1e-7)
    np.testing.assert_array_equal(y, np.eye(10, dtype=np.float32)[LABELS])


@pytest.mark.slow
def test_shuffled_epochs_are_permutations_determined_by_seed_and_epoch():
    def epoch(number, seed):
        shuffled = batches(IMAGES, LABELS, batch_size=10, shuffle=True, seed=seed)
        shuffled.epoch = number
        return np.concatenate(drawn(shuffled)).tolist()

    orders = [tuple(epoch(number, seed)) for number in range(3) for seed in range(3)]
    assert len(set(orders)) == 9
    assert all(sorted(order) == list(range(25)) for order in orders)
    assert epoch(2, 1) == list(orders[7])


def test_the_order_is_the_same_on_every_machine():
    assert epoch_order(8, seed=3, epoch=5).tolist() == [6, 4, 3, 2, 0, 7, 5, 1]


def test_any_epoch_and_step_can_be_read_directly():
    shuffled = batches(IMAGES, LABELS, batch_size=10, shuffle=True, seed=1)
    shuffled.epoch = 7
    expected = epoch_order(25, seed=1, epoch=7)[20:].tolist()
    x, y = shuffled.batch(shuffled.window(2, 3)[0], tf.constant(2))
    assert drawn([(x, y)]) == [expected]
    assert np.argmax(y, axis=1).tolist() == LABELS[expected].tolist()


def test_images_stay_uint8_until_the_step():
    window, _ = batches(IMAGES, LABELS, batch_size=10).window(0, 3)
    assert (window.images.dtype, window.labels.dtype) == (tf.uint8, tf.uint8)


@pytest.mark.parametrize("kind", [TapeModel, keras.Model])
def test_every_trainer_sees_each_epoch_in_its_own_order(kind):
    seen = []

    class Seeing(kind):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Dense(10)

        def call(self, x):
            tf.py_function(lambda x: seen.append(drawn([(x, None)])[0]), [x], [])
            return self.layer(keras.ops.reshape(x, (-1, 784)))

    model = Seeing()
    model.compile(loss=SumSquaredError(), run_eagerly=True)
    shuffled = batches(IMAGES, LABELS, batch_size=10, shuffle=True, seed=4)
    model.fit(shuffled, epochs=2, verbose=0)
    expected = np.concatenate([epoch_order(25, seed=4, epoch=epoch) for epoch in (0, 1)])
    assert np.concatenate(seen)[-50:].tolist() == expected.tolist()


class Marked:
    """Replaces an augmentation: adds its seed to every pixel."""

    identity: ClassVar = {"kind": "marked"}

    def __call__(self, images, seed):
        return images + tf.cast(seed[0] * 1000 + seed[1], tf.float32)


def augmented(*, seed, epoch):
    stream = batches(IMAGES, LABELS, batch_size=10, seed=seed, augmentation=Marked())
    stream.epoch = epoch
    return [float(x[0, 1, 1]) - IMAGES[10 * i, 1, 1] / 255 for i, (x, _) in enumerate(stream)]


def test_the_augmentation_is_seeded_with_seed_and_global_step():
    np.testing.assert_allclose(augmented(seed=7, epoch=0), [7000, 7001, 7002], atol=1e-3)
    np.testing.assert_allclose(augmented(seed=7, epoch=2), [7006, 7007, 7008], atol=1e-3)
    np.testing.assert_allclose(augmented(seed=2**32 - 1, epoch=0), [-1000, -999, -998], atol=1e-3)


def test_a_different_augmentation_changes_the_identity():
    plain = batches(IMAGES, LABELS, batch_size=10).identity
    marked = batches(IMAGES, LABELS, batch_size=10, augmentation=Marked()).identity
    assert marked == {**plain, "augmentation": {"kind": "marked"}}


@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_stream_takes_colour_images_and_any_class_count(in_a_file, shuffle, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    labels = np.array([0, 299, 1, 2, 255, 256, 3])
    write_idx(tmp_path / "images", images)
    described = DatasetDescription(image_shape=(5, 4, 3), classes=300)
    found = batches(
        map_idx(tmp_path / "images") if in_a_file else images,
        labels,
        batch_size=4,
        shuffle=shuffle,
        description=described,
    )
    order = epoch_order(7, seed=0, epoch=0) if shuffle else np.arange(7)
    for number, (x, y) in enumerate(found):
        rows = order[4 * number : 4 * number + 4]
        np.testing.assert_array_equal(x, described.preprocess(images[rows]))
        np.testing.assert_array_equal(y, np.eye(300, dtype=np.float32)[labels[rows]])
    assert [spec.shape.as_list() for spec in found.element_spec] == [[None, 5, 4, 3], [None, 300]]
    found.close()


@pytest.mark.slow
def test_colour_images_are_augmented():
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    augmentation = Augmentation(shift_pixels=1, elastic_pixels=0.5)
    stream = batches(images, np.arange(4), batch_size=4, seed=6, augmentation=augmentation)
    [(x, _)] = stream
    expected = augmentation(tf.constant(images / np.float32(255)), tf.constant([6, 0]))
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_a_different_class_count_or_scale_changes_the_identity():
    plain = batches(IMAGES, LABELS, batch_size=10).identity
    for changed in ({"classes": 12}, {"max_pixel": 16}):
        described = DatasetDescription(**changed)
        found = batches(IMAGES, LABELS, batch_size=10, description=described).identity
        assert found == {**plain, **changed}
    named = DatasetDescription(class_names=tuple("abcdefghij"))
    assert batches(IMAGES, LABELS, batch_size=10, description=named).identity == plain


def test_images_and_labels_that_differ_from_the_description_are_refused():
    described = DatasetDescription(image_shape=(32, 32, 3))
    with pytest.raises(UsageError) as caught:
        batches(IMAGES, LABELS, batch_size=10, description=described)
    assert str(caught.value) == (
        "the images have the wrong shape. Received: (25, 28, 28). Expected: uint8 (n, 32, 32, 3)."
    )
    with pytest.raises(UsageError, match=r"uint8, 0 to 9\. Expected: integers, 0 to 2\.$"):
        batches(IMAGES, LABELS, batch_size=10, description=DatasetDescription(classes=3))


def test_invalid_arguments_are_refused():
    with pytest.raises(UsageError, match=r"differ in number. Received: 25 and 24\."):
        batches(IMAGES, LABELS[:24], batch_size=10)
    for size in (0, 26):
        with pytest.raises(UsageError, match=rf"Received: {size}. Expected: 1 to 25"):
            batches(IMAGES, LABELS, batch_size=size)
    with pytest.raises(UsageError, match=r"Received: float32\. Expected: uint8"):
        batches(IMAGES / np.float32(255), LABELS, batch_size=10)
    for labels in (LABELS.astype(float), LABELS - np.int8(1), LABELS + 1):
        with pytest.raises(UsageError, match="the labels are not classes"):
            batches(IMAGES, labels, batch_size=10)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(stream).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_trained_model_does_not_keep_the_images(shuffle, make_model):
    images = IMAGES.copy()
    ten = batches(images, LABELS, batch_size=10, shuffle=shuffle)
    model = make_model()
    model.fit(ten, verbose=0)
    drawn(ten)
    images, ten = weakref.ref(images), weakref.ref(ten)
    model.train_function = None
    gc.collect()
    assert images() is None
    assert ten() is None
