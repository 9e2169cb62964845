"""TensorBoard's pages for two runs of main.py with every dashboard, one of them killed.

All tests share one TensorBoard and one browser.
"""

import contextlib
import functools
import gzip
import json
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from selenium.common.exceptions import StaleElementReferenceException

from tests.browser import TensorBoardPage, browser, browser_is_here, errors, tensorboard

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUNS = ("parts", "whole")
PARTS_OF_RUNS = {*RUNS, *(f"{run}/train" for run in RUNS)}
NODES = {2 * name for name in ("inputs", "mlp", "Identity", "NoOp")}  # With their tooltips.
PICTURES = ("confusion_matrix", "first_layer_weights", "input_sample", "mistakes")
STEPS_PER_EPOCH = 30
PICTURES_AT = [300, 600, 900, 1020]
NEEDS_BROWSER = pytest.mark.skipif(
    not browser_is_here(), reason="chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def address(runs, whole, parts, tmp_path_factory):
    """The address of a TensorBoard that has read both runs."""
    logdir = tmp_path_factory.mktemp("both")
    for run in RUNS:
        shutil.copytree(
            runs.logdir / run, logdir / run, ignore=shutil.ignore_patterns("checkpoints")
        )
    with tensorboard(logdir) as address:
        read = functools.partial(ask, address, "scalars/tags")
        assert eventually(lambda: set(read() or ()), PARTS_OF_RUNS) == PARTS_OF_RUNS
        yield address


def eventually(read, expected, *, patience_s=60):
    """The result of ``read`` as soon as it is as expected, or at the time limit."""
    deadline = time.monotonic() + patience_s
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def ask(address, path, **query):
    """TensorBoard's answer to its page; None before there is one."""
    url = f"{address}data/plugin/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url) as answer:
            data = answer.read()
            if answer.headers["Content-Encoding"] == "gzip":  # xprof always compresses.
                data = gzip.decompress(data)
            return json.loads(data) if "json" in answer.headers["Content-Type"] else data
    except urllib.error.HTTPError:
        return None


@pytest.fixture(scope="module")
def get(address):
    return functools.partial(ask, address)


def both(get, path, of=lambda answer: answer, **query):
    """The data of the two runs, which has to be equal."""
    parts, whole = (of(get(path, run=run, **query)) for run in RUNS)
    assert parts == whole
    return whole


def points(answer):
    return [(step, value) for _, step, value in answer]


def test_each_scalar_has_each_step_once_with_its_printed_value(get, whole):
    printed = {}
    for line in whole.lines:
        if match := re.fullmatch(r"(\d+) (\d+) loss: (.+)", line):
            printed[int(match[1]) * STEPS_PER_EPOCH + int(match[2])] = float(match[3])
    tags = get("scalars/tags")
    for part in ("", "/train"):
        assert tags[f"parts{part}"].keys() == tags[f"whole{part}"].keys()
        for tag in tags[f"whole{part}"]:
            found, expected = (
                points(get("scalars/scalars", run=run + part, tag=tag)) for run in RUNS
            )
            if tag.startswith(("examples_per_second", "memory/")):
                found, expected = ([step for step, _ in some] for some in (found, expected))
            assert found == expected, tag
            if tag == "loss":
                assert [step for step, _ in found] == list(printed)
                assert dict(found) == pytest.approx(printed, rel=1e-6)


def test_each_picture_histogram_and_curve_has_each_step_once(get):
    for kind, path, names in (
        ("images", "images/images", {"confusion_matrix", "input_sample", "mistakes"}),
        ("histograms", "histograms/histograms", {"weights/mlp/dense_512/kernel"}),
    ):
        tags = get(f"{kind}/tags")
        assert names <= tags["whole"].keys() == tags["parts"].keys()
        for tag in tags["whole"]:
            steps = both(get, path, lambda answer: steps_of(answer), tag=tag, sample=0)
            first = [STEPS_PER_EPOCH] if tag == "input_sample" else []
            assert steps == first + PICTURES_AT, tag
    tags = get("pr_curves/tags")
    assert tags["whole"].keys() == tags["parts"].keys()
    assert len(tags["whole"]) == 10
    for tag in tags["whole"]:
        curves = both(
            get, "pr_curves/pr_curves", lambda answer: without_time(*answer.values()), tag=tag
        )
        assert [curve["step"] for curve in curves] == PICTURES_AT


def steps_of(answer):
    return [entry["step"] if isinstance(entry, dict) else entry[1] for entry in answer]


def without_time(entries):
    return [{k: v for k, v in entry.items() if k != "wall_time"} for entry in entries]


def test_the_pictures_are_the_same_after_a_kill(get):
    for tag in get("images/tags")["whole"]:
        parts, whole = (
            [
                get("images/individualImage", **dict(urllib.parse.parse_qsl(entry["query"])))
                for entry in get("images/images", run=run, tag=tag, sample=0)
            ]
            for run in RUNS
        )
        assert all(picture.startswith(b"\x89PNG") for picture in whole)
        assert parts == whole


def test_graph_points_and_recipe_are_the_same_after_a_kill(get):
    graph = both(get, "graphs/graph", conceptual="false")
    assert 'name: "mlp/dense_512/MatMul"' in graph.decode()
    (embedding,) = both(get, "projector/info")["embeddings"]
    assert embedding["tensorName"] == "last_hidden_layer_1020"
    for path in ("tensor", "metadata", "sprite_image"):
        assert len(both(get, f"projector/{path}", name=embedding["tensorName"])) > 1000
    assert [entry["step"] for entry in both(get, "text/text", without_time, tag="versions")] == [0]


class Page(TensorBoardPage):
    """The visible page, compared with expected values."""

    def shows(self, selector, expected, attribute="innerText", of=lambda texts: texts):
        """Wait for the expected texts, or for values made of them."""

        def read():
            with contextlib.suppress(StaleElementReferenceException, IndexError):
                return of(self.texts(selector, attribute))

        assert eventually(read, expected, patience_s=20) == expected

    def has_drawn(self, selector, count):
        """Wait for a number of lines or areas larger than a dot."""
        self.shows(
            selector, count, "outerHTML", of=lambda lines: sum(len(line) > 80 for line in lines)
        )


@pytest.fixture(scope="module")
def driver():
    with browser() as driver:
        yield driver


@pytest.fixture
def page(driver, address):
    return Page(driver, address)


@pytest.fixture
def silent_console(driver):
    yield
    assert errors(driver) == []


@NEEDS_BROWSER
@pytest.mark.usefixtures("silent_console")
class TestABrowserShows:
    def test_time_series(self, page):
        page.open("timeseries", tagFilter="^epoch_loss$")
        page.shows("runs-data-table", PARTS_OF_RUNS, of=lambda texts: {*texts[0].split()} - {"Run"})
        page.shows("scalar-card line-chart", True, of=lambda texts: "1020" in texts[0].split())

    def test_scalars(self, page):
        page.open("scalars")
        page.shows(".item-label-container", PARTS_OF_RUNS, of=set)
        page.shows(".heading-label.name", ["epoch_accuracy", "epoch_loss"], of=lambda t: t[:2])
        # Two charts of two runs are open; each run has a curve and a smoothed one.
        page.has_drawn("path.line", 8)

    def test_custom_scalars(self, page):
        page.open("custom_scalars")
        groups = ["training and validation", "steps", "weights", "classes", "machine"]
        page.shows(".category-name", groups)
        # 2 of metrics, 3 of steps, 6 of weights, 20 of classes, 3 of the machine.
        page.has_drawn("path.line", 2 * 2 * 34)

    def test_images(self, page):
        page.open("images")
        page.shows(".category-name", [*PICTURES])
        for title in PICTURES[2:]:
            page.click(".category-name", title)
        page.shows(".heading-label.run", [*RUNS] * len(PICTURES))
        page.shows(
            "img",
            True,
            "naturalWidth",
            of=lambda widths: [int(w) > 300 for w in widths] == [True] * 8,
        )

    @pytest.mark.parametrize("run", RUNS)
    def test_graphs(self, page, run):
        page.open("graphs")
        page.shows("text.nodelabel", NODES, "textContent", of=set)
        page.click("paper-dropdown-menu")
        page.click("paper-item", run)
        page.shows("input", [run, "Default"], "value", of=lambda values: values[1:])
        page.shows("text.nodelabel", NODES, "textContent", of=set)

    def test_distributions(self, page):
        page.open("distributions")
        page.shows(".heading-label.run", [*RUNS] * 12)
        page.has_drawn("path.area", 8 * 24)

    def test_histograms(self, page):
        page.open("histograms")
        page.shows(".heading-label.run", [*RUNS] * 12)
        page.has_drawn("path.outline", 24 * len(PICTURES_AT))

    def test_precision_recall_curves(self, page):
        page.open("pr_curves")
        page.has_drawn("path.line", 2 * 10)
        for run in RUNS:
            told = f"{run} is at step 1020"
            page.shows(".legend-row", 10, of=lambda texts, told=told: " ".join(texts).count(told))

    def test_hyperparameters(self, page):
        def recipes(cells):
            return [cells[cells.index(run) + 2 :][:5] for run in RUNS if run in cells]

        page.open("hparams")
        page.shows(".table-cell", [["none", "none", "0.0000", "0.0000", "0.0000"]] * 2, of=recipes)

    def test_text(self, page):
        page.open("text")
        page.shows("code", [True, True], of=lambda texts: ["main.py --data" in t for t in texts])
        page.shows("td", 2, of=lambda texts: texts.count("processor"))

    @pytest.mark.parametrize("run", RUNS)
    def test_the_projector(self, page, get, run):
        labels = get("projector/metadata", run=run, name="last_hidden_layer_1020")
        images = labels.decode().count("\n") - 1  # The first line names the columns.
        assert images >= 100
        page.open("projector")
        page.enter_frame()
        page.enter_frame()
        page.shows(".numDataPoints", [str(images)])
        page.click("paper-dropdown-menu")
        page.click("paper-item", run)
        chosen = [run, "last_hidden_layer_1020", "class"]
        page.shows("input", chosen, "value", of=lambda values: values[:3])
        page.shows(".numDataPoints", [str(images)])
        page.shows(".dim", ["256"])

    @pytest.mark.parametrize("run", RUNS)
    def test_the_report(self, page, runs, run):
        page.driver.get((runs.logdir / run / "report.html").as_uri())
        page.shows("h1", [run])
        page.shows("polyline", 3, "points", of=len)
        page.shows("img", ["28"] * 30, "naturalWidth")


@NEEDS_BROWSER
def test_a_browser_shows_the_profile(get, page):
    if get("profile/runs") is None:
        pytest.skip("xprof, which has the page for profiles, is not installed")
    assert set(get("profile/runs")) == {f"{run}/steps_5-8" for run in RUNS}
    page.open("profile")
    page.enter_frame()
    page.shows("mat-select", True, of=lambda chosen: "steps_5-8" in chosen[0])
    page.shows("body", True, of=lambda texts: "Device type: CPU" in texts[0])
    # The page loads its scripts and fonts from the internet and fails without them.
    wanted = ("gstatic.c", "fonts.googleapis.com", "google is not defined")
    messages = [entry["message"] for entry in errors(page.driver)]
    assert [m for m in messages if not any(name in m for name in wanted)] == []
