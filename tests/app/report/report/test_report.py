"""The report of a small run, as text and in a browser."""

import itertools
import re
import types
from html.parser import HTMLParser

import keras
import numpy as np
import pytest

from mnist_keras.app.config import RunConfig
from mnist_keras.app.report import render, run_facts
from mnist_keras.callbacks.tensorboard.event_log import EventLog
from mnist_keras.callbacks.tensorboard.exam import Exam
from mnist_keras.data.datasets.descriptions import FASHION_MNIST, MNIST
from tests.browser import browser, browser_is_here

LABELS = np.arange(20) % 10
IMAGES = np.zeros((20, 28, 28), np.uint8)
IMAGES[np.arange(20), 0, LABELS] = 255  # An image encodes its label in its first row,
IMAGES[3, 0] = np.roll(IMAGES[3, 0], 5)  # but this 3 looks like an 8
IMAGES[14, 0, 6] = 254  # and this 4 almost as much like a 6.
IMAGES[14, 0, 4] = 200
SUMMARY = {
    "dataset": "mnist",
    "epochs": 2,
    "steps": 1200,
    "seconds": 12.5,
    "images_per_second": 45678.9,
    "test_loss": 0.25,
    "test_accuracy": 0.9,
}


class Page(HTMLParser):
    """The text of a page and its references."""

    def __init__(self, html):
        super().__init__()
        self.words, self.references, self.rows = [], [], []
        self.feed(html)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if data.strip():
            self.words.append(" ".join(data.split()))
            if self.rows:
                self.rows[-1].append(data.strip())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "my <run> & 数字"
    log = EventLog(path, step=0)
    for step in range(0, 1200, 100):
        log.scalar("train", "loss", 3.0 / (1 + step), step)
        log.scalar("train", "learning_rate", 0.1 - step / 20_000, step)
    for step in (600, 1200):
        log.scalar("train", "epoch_accuracy", step / 2000, step)
        log.scalar("validation", "epoch_accuracy", step / 2400, step)
    log.close()
    return types.SimpleNamespace(path=path, name=path.name)


# Where the texts of elements begin and end.
EDGES = """
const [selector, low, high] = arguments;
return [...document.querySelectorAll(selector)].map((element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const box = range.getBoundingClientRect();
  return [box[low], box[high]];
});
"""


@pytest.fixture(scope="module")
def page_of(run):
    """page_of(exam): the report of a network whose scores are the first row of pixels."""
    network = keras.Sequential(
        [keras.Input((28, 28)), keras.layers.Lambda(lambda x: x[:, 0, :10])], name="reads"
    )
    network.compile(loss="mse")
    config = RunConfig(
        epochs=2, learning_rate=0.1, schedule="cosine", loss="categorical_crossentropy"
    )

    def page_of(exam):
        return render(run_facts(run, config, model=network, exam=exam, summary=SUMMARY))

    return page_of


@pytest.fixture(scope="module")
def html(page_of):
    return page_of(Exam(IMAGES, LABELS, description=MNIST))


@pytest.fixture(scope="module")
def html_of_clothes(page_of):
    return page_of(Exam(IMAGES, LABELS, description=FASHION_MNIST))


def test_it_shows_the_results_of_the_run(html):
    text = Page(html).text
    for words in ("90.00 %", "0.25", "mnist", "1,200", "12.5", "45,679"):
        assert words in text
    assert "my <run> & 数字" in text
    assert "<run>" not in html


def test_the_matrix_counts_each_pair_of_true_and_predicted_class(html):
    rows = {row[0]: row[1:] for row in Page(html).rows if len(row) == 12}
    expected = np.diag([2] * 10)
    expected[3, [3, 8]] = 1, 1
    expected[4, [4, 6]] = 1, 1
    counts = {name: [*map(int, row[:10])] for name, row in rows.items()}
    assert counts == {str(digit): expected[digit].tolist() for digit in range(10)}
    recall = {name: row[10] for name, row in rows.items()}
    assert recall == {str(d): "50.0" if d in (3, 4) else "100.0" for d in range(10)}
    precision = next(row for row in Page(html).rows if row[:1] == ["%"])
    assert precision[7:10] == ["66.7", "100.0", "66.7"]


def test_the_worst_mistake_comes_first(html):
    text = Page(html).text
    assert re.search(r"2 of 20 are classified wrongly", text)
    assert re.search(r"is 3, not 8 100 % sure is 4, not 6 61 % sure", text)
    assert [url[:22] for url in Page(html).references].count("data:image/png;base64,") == 2


def test_classes_are_shown_by_their_names(html_of_clothes):
    page = Page(html_of_clothes)
    assert re.search(r"is Dress, not Bag 100 % sure is Coat, not Shirt 61 % sure", page.text)
    names = [row[0] for row in page.rows if len(row) == 12]
    assert names == list(FASHION_MNIST.names)


def test_every_available_curve_is_drawn(html):
    titles = re.findall(r'aria-label="(.*?), by step"', html)
    assert titles == ["loss of single batches", "accuracy of each epoch", "learning rate"]
    assert [line.count(" ") + 1 for line in re.findall(r'points="(.*?)"', html)] == [12, 2, 2, 12]


def test_flags_that_differ_from_the_default_are_marked(html):
    changed = re.findall(r'<tr class="changed"><td>--(\w+)</td><td>(.*?)</td>', html)
    assert {name: value.replace("<wbr>", "") for name, value in changed} == {
        "loss": "categorical_crossentropy",
        "learning_rate": "0.1",
        "schedule": "cosine",
        "epochs": "2",
    }


def test_it_refers_to_no_other_files(html):
    assert all(reference.startswith("data:") for reference in Page(html).references)
    assert not re.search(r"https?://|@import|url\(", html)


@pytest.mark.browser
@pytest.mark.skipif(not browser_is_here(), reason="no chromium with its driver here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1400])
def test_it_fits_the_width_of_a_browser(html, tmp_path, width, scheme):
    page = tmp_path / "report.html"
    page.write_text(html, encoding="utf-8")
    with browser() as driver:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        driver.get(page.as_uri())
        needed, loaded, paper, lines = driver.execute_script(
            "return [document.documentElement.scrollWidth,"
            " performance.getEntriesByType('resource').map(e => e.name)"
            "   .filter(name => !name.startsWith('data:')),"
            " getComputedStyle(document.body).backgroundColor,"
            " [...document.querySelectorAll('.facts td:first-child')].map(name => {"
            "   const range = document.createRange();"
            "   range.selectNodeContents(name);"
            "   return new Set([...range.getClientRects()].map(box => box.top)).size;"
            " })]"
        )
        assert needed <= width
        assert_no_mark_is_cut(driver)
        assert loaded == []
        assert set(lines) == {1}, "no name is broken in two"
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 22, 24)"}[scheme]
        assert driver.get_log("browser") == []


@pytest.mark.browser
@pytest.mark.skipif(not browser_is_here(), reason="no chromium with its driver here")
def test_class_names_stand_side_by_side_on_a_phone(html_of_clothes, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(html_of_clothes, encoding="utf-8")
    with browser() as driver:
        size = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(page.as_uri())
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 380
        for names, low, high in (("col", "left", "right"), ("row", "top", "bottom")):
            edges = driver.execute_script(EDGES, f".matrix [scope={names}]", low, high)
            assert len(edges) == 11
            assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(edges))
        ends = driver.execute_script(EDGES, ".matrix [scope=row]", "left", "right")
        first_cell = "document.querySelector('.matrix td').getBoundingClientRect().left"
        assert max(end for _, end in ends) <= driver.execute_script(f"return {first_cell}")


def assert_no_mark_is_cut(driver):
    """Labels of curves end within the page; their chart does not clip them."""
    width = driver.execute_script("return document.documentElement.clientWidth")
    marks = driver.execute_script(EDGES, "svg text", "left", "right")
    assert marks
    assert all(0 <= begin <= end <= width for begin, end in marks)
    overflow = "return getComputedStyle(document.querySelector('svg')).overflow"
    assert driver.execute_script(overflow) == "visible"
