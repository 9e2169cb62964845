"""Takes the README's pictures of the runs in a log directory: ``python -m docs.make_images logs``.

Chromium and chromedriver have to be installed, and the extra ``tests``.
"""

import argparse
import pathlib

from tests.browser import browser, picture_at_rest, tensorboard, wait_for

IMAGES = pathlib.Path(__file__).parent / "images"


def scalars(logdir):
    """The loss of each batch and the accuracy of each epoch in TensorBoard, as PNG."""
    with tensorboard(logdir) as address, browser() as driver:
        driver.get(f"{address}?smoothing=0&tagFilter=%5E(loss%7Cepoch_accuracy)%24#timeseries")
        wait_for(driver, lambda d: d.find_elements("css selector", "scalar-card line-chart"))
        driver.find_element("css selector", ".settings-button").click()
        return picture_at_rest(driver)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logdir", type=pathlib.Path)
    logdir = parser.parse_args().logdir
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "tensorboard_scalars.png").write_bytes(scalars(logdir))
