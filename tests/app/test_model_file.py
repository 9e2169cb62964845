import io
import time
import zipfile

import keras
import numpy as np
import pytest

from mnist_keras.app import networks
from mnist_keras.app.model_file import model_file


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    return networks.build("cnn")


def test_saving_the_same_network_later_gives_the_same_bytes(network, monkeypatch):
    first = model_file(network)
    later = time.gmtime(2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    assert model_file(network) == first
    network.layers[-1].bias.assign_add(np.full(10, 1e-7))
    assert model_file(network) != first


def test_the_file_contains_no_date(network):
    with zipfile.ZipFile(io.BytesIO(model_file(network))) as file:
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"date" not in file.read("metadata.json")


def test_keras_loads_the_same_network_from_the_file(network, tmp_path):
    (tmp_path / "model.keras").write_bytes(model_file(network))
    opened = keras.models.load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((5, 28, 28), np.float32)
    np.testing.assert_array_equal(opened(images), network(images))
    assert [layer.name for layer in opened.layers] == [layer.name for layer in network.layers]
