"""The command that starts the page: its messages, and the models that it accepts."""

import base64
import importlib
import importlib.util
import re
import runpy
import signal
import socket
import sys

import keras
import numpy as np
import pytest

from mnist_keras.data.datasets.synthetic import synthetic_digits
from mnist_keras.errors import MnistKerasError, UsageError
from tests.examples.page_server import EXAMPLE

pytestmark = pytest.mark.slow


@pytest.fixture
def reading(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    return importlib.import_module("reading")


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run a command that fails at once: (exit status, text on stderr)."""
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["serve.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLE / "serve.py"), run_name="__main__")
        printed = capsys.readouterr()
        assert printed.out == ""
        return ended.value.code, printed.err

    return run


def test_it_says_which_page_to_open(server):
    assert server.said == f"open {server.address}/ (Ctrl+C ends it)\n"


def test_a_missing_model_is_refused(refused, tmp_path):
    expected = "Expected: the directory of a finished run, such as logs/first, or a .keras file."
    status, said = refused(tmp_path / "none")
    assert (status, said) == (
        2,
        f"error: the model does not exist. Received: {tmp_path}/none. {expected}\n",
    )


def test_a_run_without_a_model_yet_is_refused(refused, tmp_path):
    status, said = refused(tmp_path)
    assert status == 2
    assert said.startswith("error: the run is not finished. Received: ")
    assert said.count("\n") == 1


def test_a_port_in_use_is_reported(refused, run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(run, f"--port={port}") == (
            1,
            f"error: the port cannot be opened. Received: --port={port}: Address already in use. "
            "Expected: a free port; --port=0 takes any.\n",
        )
    status, said = refused(run, "--port=70000")
    assert status == 1
    assert re.fullmatch(r"error: the port cannot be opened. Received: --port=70000: .+\n", said)


def test_a_missing_library_is_reported(refused, run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "aiohttp" else found(name)
    )
    assert refused(run) == (
        1,
        "error: the server needs one more library. Received: no aiohttp. "
        "Expected: pip install '.[examples]'.\n",
    )


def test_the_loss_is_read_from_the_models_run(reading, run, network, tmp_path):
    file = run / "model.keras"
    assert reading.find_model(run) == (file, "categorical_crossentropy")
    assert reading.find_model(file) == (file, "categorical_crossentropy")
    network.save(tmp_path / "model.keras")
    assert reading.find_model(tmp_path / "model.keras") == (tmp_path / "model.keras", None)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (784,)])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_custom_models_may_return_scores_or_probabilities(
    shape, activation, reading, network, photo, tmp_path
):
    layers = [keras.Input(shape), keras.layers.Reshape((28, 28)), network]
    if activation:
        layers.append(keras.layers.Softmax())
    keras.Sequential(layers).save(tmp_path / "own.keras")
    reader = reading.Reader(tmp_path / "own.keras")
    (first, *_) = reader.read(photo.read_bytes(), most_pixels=10**6)["digits"]
    image = np.frombuffer(base64.b64decode(first["image"]), np.uint8).reshape(1, 28, 28)
    scores = network.predict_on_batch(image / np.float32(255))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(scores))[0]
    np.testing.assert_allclose(first["probabilities"], expected, atol=2e-4)


def test_a_model_that_does_not_read_digits_is_refused(reading, tmp_path):
    path = tmp_path / "own.keras"
    keras.Sequential([keras.Input((32, 32)), keras.layers.Flatten(), keras.layers.Dense(2)]).save(
        path
    )
    with pytest.raises(UsageError) as caught:
        reading.Reader(path)
    assert str(caught.value) == (
        f"{path} does not read digits. Received: a network from (None, 32, 32) to (None, 2). "
        "Expected: from (None, 28, 28) to (None, 10)."
    )


def test_a_damaged_model_is_reported(reading, tmp_path):
    (tmp_path / "own.keras").write_bytes(b"seven")
    with pytest.raises(MnistKerasError, match=r"own.keras cannot be opened. Received: "):
        reading.Reader(tmp_path / "own.keras")


def test_more_digits_than_one_batch_are_read_in_order(reading, run):
    images, _ = synthetic_digits(230, seed=3)
    reader = reading.Reader(run / "model.keras", loss="categorical_crossentropy")
    whole = reader._probabilities(images)
    assert whole.shape == (230, 10)
    np.testing.assert_allclose(whole[150], reader._probabilities(images[150:151])[0], rtol=1e-4)
