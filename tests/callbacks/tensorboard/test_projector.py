import doctest
import io

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from mnist_keras import TapeModel
from mnist_keras.callbacks.tensorboard import drawing, projector
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.callbacks.tensorboard.projector import Projector, input_of_layer
from mnist_keras.errors import MnistKerasError, UsageError

DIRECTORY = "plugins/org_tensorflow_tensorboard_projector"


def layers():
    return [
        keras.layers.Dense(5, name="first"),
        keras.layers.ReLU(),
        keras.layers.Dense(4, name="second", activation="tanh"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3, name="scores"),
    ]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = layers()

    def call(self, x, training=False):
        for layer in self.parts:
            x = layer(x, training=training) if "dropout" in layer.name else layer(x)
        return x


def sequential():
    return keras.Sequential([keras.Input((6,)), *layers()])


def functional(kind=keras.Model):
    outputs = x = keras.Input((6,))
    for layer in layers():
        outputs = layer(outputs)
    return kind(inputs=x, outputs=outputs)


KINDS = {
    "sequential": sequential,
    "functional": functional,
    "subclassed": Subclassed,
    "wrapped": lambda: TapeModel(sequential()),
    "wrapped subclassed": lambda: TapeModel(Subclassed()),
    "wrapped in two parts": lambda: TapeModel(sequential(), batch_parts=2),
    "functional TapeModel": lambda: functional(TapeModel),
}


@pytest.mark.parametrize("kind", KINDS)
def test_layer_inputs_are_captured_in_every_kind_of_model(kind):
    model, x = KINDS[kind](), np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    model(x)
    named = {layer.name: layer for layer in model._flatten_layers() if layer.weights}
    hidden = named["second"](np.maximum(named["first"](x), 0))
    np.testing.assert_allclose(input_of_layer(model, x), hidden, rtol=1e-5, atol=1e-6)
    first = input_of_layer(model, x, layer="second")
    np.testing.assert_allclose(first, np.maximum(named["first"](x), 0), rtol=1e-5, atol=1e-6)
    assert [name for name, layer in named.items() if "call" in vars(layer)] == []


@pytest.mark.slow
def test_the_files_contain_points_classes_and_images(make_model, stream, held_out, tmp_path):
    model, exam = make_model(), Exam(*held_out)
    callback = Projector(tmp_path, exam, every_epochs=2, most=6)
    model.fit(stream, epochs=3, verbose=0, callbacks=[callback])
    directory = tmp_path / DIRECTORY
    config = text_format.Parse(
        (directory / "projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    (embedding,) = config.embeddings
    assert embedding.tensor_name == "last_hidden_layer_21"
    points = np.loadtxt(directory / embedding.tensor_path, delimiter="\t")
    images, labels = held_out[0][:6], held_out[1][:6]
    expected = input_of_layer(model, images / np.float32(255))
    assert expected.shape == (6, 16)
    np.testing.assert_allclose(points, expected, rtol=1e-3, atol=1e-6)
    guesses = exam.probabilities(model, step=21).argmax(-1)[:6]
    rows = [f"{label}\t{guess}" for label, guess in zip(labels, guesses, strict=True)]
    assert (directory / embedding.metadata_path).read_text().splitlines() == [
        "class\tprediction",
        *rows,
    ]
    sprite, size = drawing.sprite(images)
    found = Image.open(io.BytesIO((directory / embedding.sprite.image_path).read_bytes()))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(sprite))
    assert tuple(embedding.sprite.single_image_dim) == size
    assert len(list(directory.iterdir())) == 4, "nothing else is left"


def test_points_are_written_without_images_or_classes(tmp_path, capsys):
    """A regression on a table."""
    x = np.random.default_rng(0).normal(size=(1500, 6)).astype(np.float32)
    model = sequential()
    model.compile(loss="mse")
    callback = Projector(tmp_path, Exam(x, x[:, 0] / 2), most=1200)
    callback.set_model(model)
    list(callback.summaries())
    directory = tmp_path / DIRECTORY
    assert {path.name for path in directory.iterdir()} == {"points.tsv", "projector_config.pbtxt"}
    points = np.loadtxt(directory / "points.tsv", delimiter="\t")
    np.testing.assert_allclose(points, input_of_layer(model, x[:1200]), rtol=2e-3, atol=1e-6)
    config = (directory / "projector_config.pbtxt").read_text()
    assert "metadata_path" not in config
    assert "sprite" not in config
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(". ")[0] for line in lines] == [
        "Projector shows no classes: the targets are not classes",
        "Projector shows no images: the examples are not images",
    ]


def test_classes_are_written_without_predictions(tmp_path, capsys):
    """An autoencoder on images whose classes are known."""
    x = np.random.default_rng(0).random((4, 6, 6, 1)).astype(np.float32)
    layers = [keras.layers.Conv2D(2, 3), keras.layers.Conv2DTranspose(1, 3)]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers])
    model.compile(loss="mse")
    callback = Projector(tmp_path, Exam(x, np.array([2, 0, 1, 2]), class_names=["a", "b"]))
    callback.set_model(model)
    list(callback.summaries())
    directory = tmp_path / DIRECTORY
    assert (directory / "labels.tsv").read_text().splitlines() == ["2", "a", "b", "2"]
    # The mean over height and width.
    points = np.loadtxt(directory / "points.tsv", delimiter="\t")
    np.testing.assert_allclose(points, layers[0](x).numpy().mean((1, 2)), rtol=2e-3, atol=1e-6)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Projector shows no predictions: the model is not a classifier.")


def test_an_unknown_layer_is_refused(make_model, held_out):
    with pytest.raises(UsageError) as error:
        input_of_layer(sequential(), np.ones((1, 6), np.float32), layer="dropout")
    assert str(error.value).startswith(
        "no layer with weights has that name. Received: dropout. Expected: one of "
    )


@pytest.mark.slow
def test_a_failed_write_is_reported(make_model, stream, held_out, tmp_path):
    (tmp_path / "plugins").write_text("in the way")
    callback = Projector(tmp_path, Exam(*held_out))
    with pytest.raises(MnistKerasError, match="the projector's files cannot be written"):
        make_model().fit(stream, verbose=0, callbacks=[callback])


def test_the_example_is_true():
    assert doctest.testmod(projector).failed == 0
