import io
import os
import re
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

from mnist_keras.app import networks
from mnist_keras.app.model_file import model_file, open_model_file
from mnist_keras.errors import MnistKerasError


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    return networks.build("cnn")


@pytest.mark.parametrize("now_s", [0, 2e9])
def test_saving_a_network_at_any_time_gives_the_same_bytes(now_s, network, monkeypatch):
    first = model_file(network)
    now = time.gmtime(now_s)
    monkeypatch.setattr(time, "localtime", lambda *_: now)
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


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_file_that_unpacks_to_far_more_is_refused(name, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(17 << 20))
    with pytest.raises(MnistKerasError) as caught:
        open_model_file(path)
    received = f"ValueError: {name} of {17 << 20} bytes, more than {16 << 20}"
    assert str(caught.value) == (
        f"{path} cannot be opened. Received: {received}. Expected: the model that the run saved."
    )


def endless(group):
    group.create_dataset("0", (1 << 40,), "f4", chunks=(1 << 16,))


def overflowing(group):
    group.create_dataset("0", (1 << 40, 1 << 40), "f4", chunks=(1 << 8, 1 << 8))


def packed(group):
    one = 1 << 20
    group.create_dataset("0", (17 * one,), "u1", chunks=(one,), compression="gzip")[...] = 0


def one_chunk(group):
    group.create_dataset("0", (1,), "u1", maxshape=(None,), chunks=(1 << 30,), compression="gzip")


def outside(group):
    group.create_dataset("0", (784, 512), "f4", external=[("/etc/passwd", 0, 4 * 784 * 512)])


def virtual(group):
    layout = h5py.VirtualLayout((784, 512), "f4")
    layout[:] = h5py.VirtualSource("/tmp/theirs.h5", "0", (784, 512))
    group.create_virtual_dataset("0", layout)


def in_a_circle(group):
    group["0"] = group.parent


def twice(group):
    group["0"] = group["1"]


def linked(group):
    group["0"] = h5py.ExternalLink("/etc/passwd", "0")


def written(group):
    group.create_dataset("0", (784, 512), dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("bomb", "received"),
    [
        (endless, r"weights of 43980\d{8} bytes, more than 16777216"),
        (overflowing, r"weights of 48357\d{20} bytes, more than 16777216"),
        (packed, r"weights of \d{8} bytes, more than 16777216"),
        (one_chunk, r"weights of 10737\d{5} bytes, more than 16777216"),
        (outside, "weights in another file: '/layers/dense/vars/0'"),
        (virtual, "weights in another file: '/layers/dense/vars/0'"),
        (in_a_circle, "weights in two places, as in a circle: '/layers/dense/vars/0'"),
        (twice, "weights in two places, as in a circle: '/layers/dense/vars/1'"),
        (linked, "a link instead of weights: '0'"),
        (written, "weights that are not numbers: '/layers/dense/vars/0'"),
    ],
    ids=lambda it: getattr(it, "__name__", None),
)
def test_weights_that_promise_more_than_they_hold_are_refused(bomb, received, tmp_path):
    content, path = io.BytesIO(), tmp_path / "model.keras"
    with h5py.File(content, "w") as file:
        group = file.create_group("layers/dense/vars")
        group["1"] = np.zeros(512, np.float32)
        bomb(group)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", content.getvalue())
    with pytest.raises(MnistKerasError) as caught:
        open_model_file(path)
    assert re.fullmatch(
        rf"{path} cannot be opened\. Received: ValueError: {received}\. "
        r"Expected: the model that the run saved\.",
        str(caught.value),
    )


def test_a_compressed_file_of_a_network_is_opened(network, tmp_path):
    path = tmp_path / "model.keras"
    with (
        zipfile.ZipFile(io.BytesIO(model_file(network))) as stored,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    assert open_model_file(path).count_params() == network.count_params()


def test_a_pipe_is_not_opened_as_a_model(tmp_path):
    path = tmp_path / "model.keras"
    os.mkfifo(path)
    with pytest.raises(MnistKerasError, match=r"cannot be opened\. Received: a named pipe\."):
        open_model_file(path)
