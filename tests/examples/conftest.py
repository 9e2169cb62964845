"""One small network, one server and one browser for all tests of the page."""

import signal

import keras
import numpy as np
import pytest

from mnist_keras.app.config import RunConfig
from mnist_keras.app.model_file import model_file
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.data.datasets.synthetic import synthetic_digits
from tests.browser import browser, browser_is_here, errors
from tests.examples.drawing import photo_of
from tests.examples.page_server import Server


@pytest.fixture(scope="session")
def network():
    """A network that reads digits, drawn ones included."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(128, activation="relu")
    layers = [keras.layers.Flatten(), hidden, keras.layers.Dense(10)]
    network = keras.Sequential([keras.Input((28, 28)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss)
    images, labels = synthetic_digits(10000, seed=0)
    network.fit(images / np.float32(255), labels, batch_size=50, epochs=4, verbose=0)
    return network


@pytest.fixture(scope="session")
def run(network, tmp_path_factory):
    """The directory of a finished run with that network."""
    run = RunDirectory(tmp_path_factory.mktemp("logs") / "drawn")
    run.path.mkdir()
    run.store_recipe(RunConfig(loss="categorical_crossentropy", run_name="drawn"))
    run.write_model(model_file(network))
    return run.path


@pytest.fixture(scope="session")
def server(run):
    """The server of that network; no test makes it report an error."""
    server = Server(run)
    yield server
    assert server.end(signal.SIGTERM) == (143, "")


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """The file of a photo of 7 2 0 1, each digit in a square of 200 pixels."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    photo_of((7, 2, 0, 1)).save(path)
    return path


@pytest.fixture(scope="session")
def chromium():
    if not browser_is_here():
        pytest.skip("chromium and chromedriver are not here; this test looks at the page")
    with browser(width=1200, height=900) as driver:
        driver.set_script_timeout(120)
        yield driver


@pytest.fixture
def page(chromium, server):
    """The newly opened page in a browser; at the end it has reported no error."""
    chromium.get("about:blank")
    for name, arguments in {
        "Emulation.clearDeviceMetricsOverride": {},
        "Emulation.setEmulatedMedia": {"features": []},
        "Emulation.setTouchEmulationEnabled": {"enabled": False},
    }.items():
        chromium.execute_cdp_cmd(name, arguments)
    errors(chromium)
    chromium.get(server.address)
    yield chromium
    assert errors(chromium) == []
