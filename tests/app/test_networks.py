import doctest

import keras
import numpy as np
import pytest

from mnist_keras.app import networks
from mnist_keras.errors import UsageError


@pytest.mark.parametrize(
    ("name", "count"),
    [("mlp", 535818), ("cnn", 215194), ("cnn_fast", 108874), ("deep_cnn", 300922)],
)
def test_a_network_maps_images_to_ten_scores(name, count):
    network = networks.build(name)
    assert (network.name, network.input_shape, network.output_shape) == (
        name,
        (None, 28, 28),
        (None, 10),
    )
    assert network.count_params() == count
    scores = network(np.zeros((3, 28, 28), np.float32))
    assert (scores.shape, scores.dtype.name) == ((3, 10), "float32")


def test_the_mlp_starts_with_the_weights_of_the_tutorial():
    keras.utils.set_random_seed(5)
    tutorial = keras.Sequential(
        [
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    tutorial.build((None, 784))
    keras.utils.set_random_seed(5)
    network = networks.build("mlp")
    for ours, theirs in zip(network.get_weights(), tutorial.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = np.random.default_rng(0).random((4, 28, 28), np.float32)
    np.testing.assert_array_equal(network(images), tutorial(images.reshape(4, 784)))


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_mixed_policy_computes_in_half_precision_with_float32_scores(name, policy):
    network = networks.build(name, dtype_policy=policy)
    half = policy.removeprefix("mixed_")
    *hidden, scores = network.layers
    assert {layer.compute_dtype for layer in hidden} == {half}
    assert scores.compute_dtype == "float32"
    assert {weight.dtype for weight in network.trainable_weights} == {"float32"}
    assert network(np.zeros((2, 28, 28), np.float32)).dtype.name == "float32"


def test_an_unknown_network_is_refused():
    with pytest.raises(UsageError) as caught:
        networks.build("rnn")
    assert (
        str(caught.value)
        == "unknown network. Received: rnn. Expected: one of mlp, cnn, cnn_fast, deep_cnn."
    )


def test_the_examples_are_true():
    assert doctest.testmod(networks).failed == 0
