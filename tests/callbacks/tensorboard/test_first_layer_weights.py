import doctest
import io

import keras
import numpy as np
import pytest
from PIL import Image

from mnist_keras import TapeModel
from mnist_keras.callbacks.tensorboard import drawing, first_layer_weights
from mnist_keras.callbacks.tensorboard.first_layer_weights import FirstLayerWeights
from mnist_keras.errors import UsageError

pytestmark = pytest.mark.slow

KERNELS = {"dense": (16, 5), "convolution": (3, 3, 2, 5)}


class Subclassed(keras.Model):
    def __init__(self, layers):
        super().__init__()
        self.parts = layers

    def call(self, x):
        for layer in self.parts:
            x = layer(x)
        return x


KINDS = {
    "sequential": lambda shape, layers: keras.Sequential([keras.Input(shape), *layers]),
    "wrapped": lambda shape, layers: TapeModel(keras.Sequential([keras.Input(shape), *layers])),
    "subclassed": lambda shape, layers: Subclassed(layers),
}


@pytest.fixture
def shown(tmp_path, summaries_of):
    """Train a model for a step at a rate of 0; (picture, first kernel)."""

    def shown(kind, layer, **options):
        dense = layer == "dense"
        shape = (4, 4) if dense else (4, 4, 2)
        first = keras.layers.Dense(5) if dense else keras.layers.Conv2D(5, 3)
        flatten = keras.layers.Flatten()
        layers = [keras.layers.Rescaling(2.0), *([flatten, first] if dense else [first, flatten])]
        model = KINDS[kind](shape, [*layers, keras.layers.Dense(3, use_bias=False)])
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
        callback = FirstLayerWeights(tmp_path, **options)
        x = np.ones((2, *shape), np.float32)
        model.fit(x, np.ones((2, 3)), verbose=0, callbacks=[callback])
        plugin, (_, _, png) = summaries_of(tmp_path)["first_layer_weights"][1]
        assert plugin == "images"
        return np.asarray(Image.open(io.BytesIO(png))), first.get_weights()[0]

    return shown


def drawn(images):
    colours = {"palette": drawing.SIGNED, "tile_pixels": 56}
    return np.asarray(drawing.grid(drawing.signed(images), columns=8, **colours))


@pytest.mark.parametrize("kind", KINDS)
def test_each_dense_unit_is_an_image_shaped_like_the_input(kind, shown):
    picture, kernel = shown(kind, "dense")
    np.testing.assert_array_equal(picture, drawn([kernel[:, u].reshape(4, 4) for u in range(5)]))


@pytest.mark.parametrize("kind", KINDS)
def test_each_filter_is_an_image_averaged_over_channels(kind, shown):
    picture, kernel = shown(kind, "convolution")
    np.testing.assert_array_equal(picture, drawn([kernel[..., f].mean(-1) for f in range(5)]))


def test_the_first_units_are_shown_in_a_given_shape(shown):
    picture, kernel = shown("sequential", "dense", image_shape=(2, 8), most=3)
    np.testing.assert_array_equal(picture, drawn([kernel[:, u].reshape(2, 8) for u in range(3)]))


def test_weights_that_do_not_form_images_are_refused():
    with pytest.raises(UsageError) as error:
        first_layer_weights.images(np.zeros((15, 2)), image_shape=None)
    assert str(error.value) == (
        "the weights of a unit are not an image. Received: 15 weights, 3 x 3 pixels. "
        "Expected: image_shape with as many pixels."
    )


def test_a_model_without_such_a_layer_is_named_on_stderr(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    model.compile(optimizer="sgd", loss="mse")
    x = np.ones((2, 4))
    model.fit(x, x, verbose=0, callbacks=[FirstLayerWeights(tmp_path)])
    assert capsys.readouterr().err == (
        "FirstLayerWeights shows nothing: no layer has weights that form images. Received: a model "
        "without a 2-D convolution and without a dense layer on its input. Expected: one of "
        "them.\n"
    )
    assert [*tmp_path.iterdir()] == []


def built(*inputs, units=4):
    """A functional model with a dense layer for each input."""
    inputs = [keras.Input(shape) for shape in inputs]
    flat = [
        keras.layers.Flatten()(tensor) if len(tensor.shape) > 2 else tensor for tensor in inputs
    ]
    parts = [keras.layers.Dense(units)(tensor) for tensor in flat]
    return keras.Model(inputs, keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0])


def drawn_of(model, monkeypatch, tmp_path, **options):
    """The images that are drawn of a model's weights."""
    found, signed = [], drawing.signed
    monkeypatch.setattr(drawing, "signed", lambda shown: found.append(shown) or signed(shown))
    callback = FirstLayerWeights(tmp_path, **options)
    callback.set_model(model)
    list(callback.summaries())
    return found


@pytest.mark.parametrize("kind", [lambda model: model, TapeModel])
@pytest.mark.parametrize(
    ("inputs", "shape", "channels", "number"),
    [
        ([(4, 9)], (4, 9), 1, 0),
        ([(4, 9, 1)], (4, 9), 1, 0),
        ([(4, 9, 3)], (4, 9), 3, 0),
        ([(36,)], (6, 6), 1, 0),
        ([(20,), (4, 9, 3)], (4, 9), 3, 1),
    ],
)
def test_dense_weights_take_the_shape_of_an_image_input(
    inputs, shape, channels, number, kind, monkeypatch, tmp_path
):
    model = built(*inputs)
    kernel = [weight for weight in model.get_weights() if weight.ndim == 2][number]
    (found,) = drawn_of(kind(model), monkeypatch, tmp_path)
    expected = kernel.T.reshape(4, *shape, channels).mean(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_of_tables_and_hidden_layers_are_not_images(monkeypatch, tmp_path, capsys):
    table = built((20,))
    hidden = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Embedding(50, 16),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ]
    )
    for model, expected in (
        (table, "Received: 20 weights, 4 x 4 pixels. Expected: image_shape with as many pixels."),
        (
            hidden,
            "Received: 16 weights, inputs of the shapes (12,). Expected: as many weights as pixels "
            "of an input, or image_shape.",
        ),
    ):
        assert drawn_of(model, monkeypatch, tmp_path) == []
        assert capsys.readouterr().err == (
            f"FirstLayerWeights shows nothing: the weights of a unit are not an image. {expected}\n"
        )
    (found,) = drawn_of(table, monkeypatch, tmp_path, image_shape=(5, 4))
    assert found.shape == (4, 5, 4)


def sequence(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(3)])


class Generator(keras.Model):
    """As a GAN: a network of random numbers in an attribute."""

    def __init__(self):
        super().__init__()
        self.generator = sequence((64,))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            sequence((64, 1), keras.layers.Flatten()),
            "the weights of a unit are not an image. Received: 64 weights, inputs of the shapes "
            "(64, 1). Expected: as many weights as pixels of an input, or image_shape.",
        ),
        (
            sequence((1,)),
            "the weights of a unit are not an image. Received: 1 weights, inputs of the shapes "
            "(1,). Expected: as many weights as pixels of an input, or image_shape.",
        ),
        (
            sequence(
                (8, 8), keras.layers.Conv1D(4, 3), keras.layers.Flatten(), keras.layers.Dense(64)
            ),
            "no layer has weights that form images. Received: a model without a 2-D convolution "
            "and without a dense layer on its input. Expected: one of them.",
        ),
        (
            Generator(),
            "the weights of a unit are not an image. Received: 64 weights, inputs of unknown "
            "shapes. Expected: as many weights as pixels of an input, or image_shape.",
        ),
    ],
    ids=["a series", "one number", "a hidden layer", "an unknown input"],
)
def test_what_is_not_an_image_is_not_drawn(model, reason, tmp_path, monkeypatch, capsys):
    assert drawn_of(model, monkeypatch, tmp_path) == []
    assert capsys.readouterr().err == f"FirstLayerWeights shows nothing: {reason}\n"


def test_the_example_is_true():
    assert doctest.testmod(first_layer_weights).failed == 0
