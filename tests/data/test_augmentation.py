import doctest

import numpy as np
import pytest
import tensorflow as tf

from mnist_keras.data import augmentation
from mnist_keras.data.augmentation import Augmentation
from mnist_keras.errors import UsageError

COUNT = 60
# The middle of an image; positions are measured where no outside pixels appear.
MIDDLE, INSIDE = 13.5, slice(9, 19)
EVERYTHING = {
    "shift_pixels": 2.0,
    "rotation_degrees": 15.0,
    "scale": 0.1,
    "shear_degrees": 10.0,
}


def deform(images, seed=(3, 5), **amounts):
    images = tf.constant(np.asarray(images, np.float32))
    return np.asarray(Augmentation(**amounts)(images, tf.constant(seed)))


def sources(count=COUNT, **amounts):
    """The source positions of inner pixels, relative to the middle: x and y, (count, 10, 10) each.

    Interpolating a picture of a coordinate gives the coordinate itself.
    """
    y, x = np.mgrid[:28, :28].astype(np.float32)
    found = [deform(np.broadcast_to(c, (count, 28, 28)), **amounts) for c in (x, y)]
    return [c[:, INSIDE, INSIDE] - MIDDLE for c in found]


def pixels():
    """The positions of the inner pixels, relative to the middle, (10, 10) each."""
    y, x = np.mgrid[INSIDE, INSIDE] - MIDDLE
    return x, y


def spans(values, least, most):
    """Whether random values are within a range and cover it."""
    width = most - least
    return (
        least - 1e-4 <= values.min() < least + 0.15 * width
        and most - 0.15 * width < values.max() <= most + 1e-4
    )


def matrices(**amounts):
    """The linear maps of pixels to their sources, (count, 2, 2), measured in the pictures."""
    x, y = sources(**amounts)
    rows = [((c[:, 0, -1] - c[:, 0, 0]) / 9, (c[:, -1, 0] - c[:, 0, 0]) / 9) for c in (x, y)]
    return np.moveaxis(np.array(rows), -1, 0)


def test_without_any_amount_the_images_stay_unchanged():
    images = np.random.default_rng(0).random((5, 28, 28), np.float32)
    np.testing.assert_array_equal(deform(images), images)


def test_a_shift_moves_each_image_by_its_own_random_amount():
    x, y = sources(shift_pixels=3)
    own_x, own_y = pixels()
    for moved, own in ((x, own_x), (y, own_y)):
        by = own - moved
        assert np.ptp(by, axis=(1, 2)).max() < 1e-4
        assert spans(by[:, 0, 0], -3, 3)
    assert abs(np.corrcoef((own_x - x)[:, 0, 0], (own_y - y)[:, 0, 0])[0, 1]) < 0.4


def test_a_rotation_turns_each_image_about_its_centre():
    x, y = sources(rotation_degrees=20)
    angles = np.degrees(np.angle((x + 1j * y) / np.add(*np.multiply(pixels(), [[[1]], [[1j]]]))))
    assert np.ptp(angles, axis=(1, 2)).max() < 1e-3
    assert spans(angles[:, 0, 0], -20, 20)
    np.testing.assert_allclose(np.hypot(x, y), np.tile(np.hypot(*pixels()), (COUNT, 1, 1)), 1e-4)


def test_scaling_changes_each_axis_independently():
    x, y = sources(scale=0.2)
    own_x, own_y = pixels()
    factors = [own_x / x, own_y / y]
    for factor in factors:
        assert np.ptp(factor, axis=(1, 2)).max() < 1e-3
        assert spans(factor[:, 0, 0], 0.8, 1.2)
    assert abs(np.corrcoef(factors[0][:, 0, 0], factors[1][:, 0, 0])[0, 1]) < 0.4


def test_a_shear_slants_each_image_and_keeps_its_rows():
    x, y = sources(shear_degrees=15)
    own_x, own_y = pixels()
    np.testing.assert_allclose(y, np.tile(own_y, (COUNT, 1, 1)), atol=1e-4)
    slants = np.degrees(np.arctan((x - own_x) / own_y))
    assert np.ptp(slants, axis=(1, 2)).max() < 1e-3
    assert spans(slants[:, 0, 0], -15, 15)


def test_the_four_transforms_combine_into_one_linear_map():
    x, y = sources(**EVERYTHING)
    own = np.array(pixels())
    moved_x, moved_y = sources(shift_pixels=EVERYTHING["shift_pixels"])
    scaled, turned, slanted = (
        matrices(**{name: EVERYTHING[name]})
        for name in ("scale", "rotation_degrees", "shear_degrees")
    )
    undone = np.stack([moved_x, moved_y], axis=1).reshape(COUNT, 2, -1)
    expected = (scaled @ turned @ slanted @ undone).reshape(COUNT, *own.shape)
    np.testing.assert_allclose(np.stack([x, y], axis=1), expected, atol=1e-3)


def test_elastic_displacements_are_smooth_with_the_requested_strength():
    x, y = sources(200, elastic_pixels=1.5)
    own_x, own_y = pixels()
    fields = np.array([x - own_x, y - own_y])
    assert fields.std() == pytest.approx(1.5, rel=0.05)
    assert abs(fields.mean()) < 0.1
    # Neighbours correlate; pixels further apart than the Gaussians' width almost do not.
    neighbours = np.corrcoef(fields[..., :-1].ravel(), fields[..., 1:].ravel())[0, 1]
    far = np.corrcoef(fields[..., :2].ravel(), fields[..., -2:].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 4.0**2)), abs=0.02)
    assert far == pytest.approx(np.exp(-(8**2) / (4 * 4.0**2)), abs=0.1)
    assert abs(np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1]) < 0.1


def test_elastic_and_affine_resampling_give_the_same_pictures():
    images = np.random.default_rng(1).random((20, 28, 28), np.float32)
    affine = deform(images, **EVERYTHING)
    np.testing.assert_allclose(deform(images, **EVERYTHING, elastic_pixels=1e-9), affine, atol=1e-4)


@pytest.mark.parametrize("elastic_pixels", [0.0, 1e-9])
def test_pixels_from_outside_the_image_are_black(elastic_pixels):
    deformed = deform(np.ones((COUNT, 28, 28)), shift_pixels=40, elastic_pixels=elastic_pixels)
    assert (deformed.min(), deformed.max()) == (0, 1)
    assert (deformed.reshape(COUNT, -1).max(1) == 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("elastic_pixels", [0.0, 1.0])
def test_the_seed_determines_the_pictures_also_in_a_graph(
    elastic_pixels,
):
    images = np.random.default_rng(2).random((9, 28, 28), np.float32)
    deformation = Augmentation(**EVERYTHING, elastic_pixels=elastic_pixels)
    graph = tf.function(
        deformation,
        input_signature=[tf.TensorSpec([None, 28, 28]), tf.TensorSpec([2], tf.int32)],
    )
    first, again, step, seed = (
        np.asarray(graph(images, tf.constant(seed))) for seed in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(
        deformation(tf.constant(images), tf.constant((1, 2))), first, 0, 1e-4
    )
    for other in (step, seed):
        assert np.abs(other - first).mean() > 0.05


@pytest.mark.parametrize("elastic_pixels", [0.0, 1.0])
def test_each_channel_is_deformed_like_a_grey_image(elastic_pixels):
    images = np.random.default_rng(3).random((6, 20, 28, 3), np.float32)
    amounts = {**EVERYTHING, "elastic_pixels": elastic_pixels}
    channels = [deform(images[..., channel], **amounts) for channel in range(3)]
    np.testing.assert_array_equal(deform(images, **amounts), np.stack(channels, axis=-1))


def test_images_with_their_channels_first_are_refused():
    with pytest.raises(UsageError) as caught:
        Augmentation(shift_pixels=1)(tf.zeros((2, 3, 20, 28)), tf.constant((1, 2)))
    assert str(caught.value) == (
        "the images have their channels first. Received: (n, 3, 20, 28). "
        "Expected: (n, height, width, channels)."
    )


def test_augmentations_with_different_amounts_have_different_identities():
    identities = [Augmentation(**{name: 0.5}).identity for name in Augmentation().identity]
    assert all(sum(one == other for other in identities) == 1 for one in identities)
    assert Augmentation(scale=0.5).identity == Augmentation(scale=0.5).identity


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"shift_pixels": -1}, "shift_pixels=-1. Expected: a finite number from 0."),
        ({"elastic_pixels": float("nan")}, "elastic_pixels=nan. Expected: a finite number from 0."),
        ({"rotation_degrees": float("inf")}, "=inf. Expected: a finite number from 0."),
        ({"scale": 1}, "scale=1. Expected: a finite number from 0 to below 1."),
        ({"shear_degrees": 90}, "shear_degrees=90. Expected: a finite number from 0 to below 90."),
    ],
)
def test_invalid_amounts_are_refused(amounts, message):
    with pytest.raises(UsageError) as caught:
        Augmentation(**amounts)
    assert str(caught.value).startswith("the amount of a deformation is wrong. Received: ")
    assert str(caught.value).endswith(message)


@pytest.mark.slow
def test_the_example_is_true():
    assert doctest.testmod(augmentation).failed == 0
