"""Takes the pictures of the README, docs/ and examples/: ``python -m docs.make_images``.

It trains the three runs that are shown, some minutes, on MNIST, or takes those of a log directory.
Chromium and chromedriver have to be installed, and the extra ``tests``.
"""

import argparse
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from PIL import Image

from mnist_keras.callbacks.tensorboard.drawing import png
from mnist_keras.callbacks.tensorboard.sweep_log import picture_file
from tests.browser import (
    TensorBoardPage,
    browser,
    elements,
    picture_at_rest,
    tensorboard,
    wait_for,
)
from tests.examples.drawing import Hand, strokes_of
from tests.examples.page_server import Server

IMAGES = pathlib.Path(__file__).resolve().parent / "images"
MAIN = pathlib.Path(__file__).parent.parent / "main.py"
SHOWN = "sgd"
_COMMON = (
    "--epochs=8",
    "--validation_examples=5000",
    "--projector",
    "--histograms_every_epochs=2",
)
RUNS = {
    "sgd": ("--learning_rate=0.01",),
    "adam": ("--loss=categorical_crossentropy", "--optimizer=adam"),
    "cnn": ("--network=cnn_fast", "--loss=categorical_crossentropy", "--optimizer=adam"),
}
_COLUMNS = (
    "learning_rate",
    "loss",
    "network",
    "optimizer",
    "train.epoch_accuracy",
    "validation.epoch_accuracy",
    "test_accuracy",
)
_DRAW_SIZES = (("light", 1100, 740), ("dark", 380, 740))
_GAP_PIXELS = 20
_LIGHT = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}


def train(logdir, *, data_dir):
    """Train the runs that are shown."""
    place = [f"--logdir={logdir}", *([f"--data_dir={data_dir}"] if data_dir else [])]
    for name, flags in RUNS.items():
        command = [sys.executable, str(MAIN), *place, f"--run_name={name}", *_COMMON, *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def sweep(run, *, data_dir):
    """The loss over the learning rate, of a run's recipe."""
    place = [f"--logdir={run.parent}", *([f"--data_dir={data_dir}"] if data_dir else [])]
    command = [sys.executable, str(MAIN), "--mode=find_learning_rate", *place]
    subprocess.run([*command, f"--run_name={run.name}"], check=True, stdout=subprocess.DEVNULL)
    return picture_file(run).read_bytes()


def scalars(page):
    """The loss of each batch and the accuracy of each epoch."""
    runs = "^(sgd|adam)/"
    page.driver.set_window_size(1300, 820)
    page.open("timeseries", tagFilter="^(loss|epoch_accuracy)$", smoothing=0, runFilter=runs)
    wait_for(page.driver, lambda driver: elements(driver, "scalar-card line-chart"))
    page.click(".settings-button")
    return picture_at_rest(page.driver)


def images(page, tag):
    """A picture of a run, as large as it is."""
    page.open(f"images&tagFilter=%5E{tag}%24&regexInput=%5E{SHOWN}%24")
    wait_for(page.driver, lambda driver: elements(driver, "img"))
    page.click("paper-checkbox")
    height = page.driver.execute_script(
        "return arguments[0].clientHeight", *elements(page.driver, "img")
    )
    page.driver.set_window_size(1300, height + 420)
    return picture_at_rest(page.driver)


def hparams(page):
    """Recipes beside their scores, on a page wide enough for both."""
    driver = page.driver
    page.open("hparams")
    wait_for(driver, lambda driver: elements(driver, ".table-cell"))
    for box in elements(driver, ".hparam-checkbox, .metric-checkbox"):
        if (box.get_attribute("checked") is not None) != (box.text in _COLUMNS):
            driver.execute_script("arguments[0].click()", box)
    size = {"width": 1730, "height": 480, "deviceScaleFactor": 1300 / 1730, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    picture = picture_at_rest(driver)
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return picture


def projector(page):
    """The last hidden layer as points, coloured by class."""
    page.open("projector")
    page.enter_frame()
    page.enter_frame()
    wait_for(page.driver, lambda driver: page.texts(".numDataPoints") not in ([], ["0"]))
    page.click("paper-dropdown-menu", number=3)
    page.click("paper-item", "class 10 colors")
    time.sleep(5)  # It never rests.
    page.driver.switch_to.default_content()
    return page.driver.get_screenshot_as_png()


def report(page, path):
    """The report's page, all of it."""
    page.driver.get(path.as_uri())
    size = page.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    page.driver.set_window_size(1300, min(int(size["height"]), 1800) + 100)
    return picture_at_rest(page.driver)


def draw(driver, run):
    """The page of examples/draw with a drawn digit, at a phone's width and at a desk's."""
    server = Server(run)
    try:
        pictures = [_drawn(driver, server.address, *size) for size in _DRAW_SIZES]
    finally:
        server.end(signal.SIGTERM)
    width = sum(picture.width for picture in pictures) + _GAP_PIXELS
    both = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    both.paste(pictures[0], (0, 0))
    both.paste(pictures[1], (width - pictures[1].width, 0))
    return png(both)


def _drawn(driver, address, scheme, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(address)
    Hand(driver).draw(strokes_of(5))
    wait_for(driver, lambda driver: driver.execute_script("return answer.ariaBusy") == "false")
    picture = picture_at_rest(driver)
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return Image.open(io.BytesIO(picture)).convert("RGB")


def main():
    """Train where nothing is given, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logdir", type=pathlib.Path, nargs="?", help="of runs; default: train some")
    parser.add_argument("--data_dir", help="of MNIST; default: as main.py finds it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        logdir = arguments.logdir
        if logdir is None:
            logdir = pathlib.Path(temporary, "logs")
            train(logdir, data_dir=arguments.data_dir)
        IMAGES.mkdir(exist_ok=True)
        shown_run = (logdir / SHOWN).resolve()
        data_dir = arguments.data_dir and os.path.abspath(arguments.data_dir)
        drawn_run = (logdir / "cnn").resolve()
        os.chdir(logdir.parent)  # TensorBoard shows the path that it was given.
        with tensorboard(logdir.name) as address, browser(height=1020) as driver:
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", _LIGHT)
            driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            page = TensorBoardPage(driver, address)
            for name, picture in {
                "tensorboard_scalars": lambda: scalars(page),
                "tensorboard_mistakes": lambda: images(page, "mistakes"),
                "tensorboard_confusion_matrix": lambda: images(page, "confusion_matrix"),
                "tensorboard_hparams": lambda: hparams(page),
                "tensorboard_projector": lambda: projector(page),
                "report": lambda: report(page, shown_run / "report.html"),
                "learning_rate": lambda: sweep(shown_run, data_dir=data_dir),
                "draw": lambda: draw(driver, drawn_run),
            }.items():
                (IMAGES / f"{name}.png").write_bytes(picture())


if __name__ == "__main__":
    main()
