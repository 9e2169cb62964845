import dataclasses
import doctest
import errno
import importlib.util
import json
import pathlib
import re

import keras
import numpy as np
import pytest

from docs.make_export_table import PAGE, table
from mnist_keras.app import export as export_module
from mnist_keras.app.config import FORMATS as NAMES
from mnist_keras.app.config import RunConfig
from mnist_keras.app.export import export
from mnist_keras.app.export_check import Check
from mnist_keras.app.export_formats import FORMATS, in_float32
from mnist_keras.app.model_file import model_file
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.data import load, write_shards
from mnist_keras.data.formats import shard_files
from mnist_keras.errors import MnistKerasError, UsageError
from tests.command_line import fork_main, tree, write_small_mnist

pytestmark = pytest.mark.slow

PLACES = {"keras": "model.keras"} | {
    name: f"export/{form.file_name}" for name, form in FORMATS.items()
}
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def small_network(*, dtype=None):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Reshape((28, 28, 1), dtype=dtype),
        keras.layers.Conv2D(4, 5, strides=3, activation="relu", dtype=dtype),
        keras.layers.BatchNormalization(dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
        keras.layers.Dropout(0.2, dtype=dtype),
        keras.layers.Dense(10, dtype="float32"),
    ]
    return keras.Sequential([keras.Input((28, 28)), *layers])


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def network(small_mnist):
    """A network that reads most of the small data set."""
    train_set, _ = load("mnist", data_dir=small_mnist)
    network = small_network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss)
    x = train_set.images / np.float32(255)
    network.fit(x, train_set.labels, batch_size=50, epochs=3, verbose=0)
    return network


def make_run(directory, network, small_mnist, **recipe):
    """(a run with that network, the recipe that exports it)."""
    run = RunDirectory(directory / "run")
    run.path.mkdir()
    recipe = RunConfig(
        mode="export",
        dataset="mnist",
        data_dir=str(small_mnist),
        logdir=str(directory),
        run_name="run",
        **recipe,
    )
    run.store_recipe(recipe)
    run.write_model(model_file(network))
    return run, recipe


@pytest.fixture
def run(network, small_mnist, tmp_path):
    return make_run(tmp_path, network, small_mnist)


@pytest.fixture(scope="module")
def exported(network, small_mnist, tmp_path_factory):
    """(directory, printed lines) of a run exported in every format by the command line."""
    directory = tmp_path_factory.mktemp("exported")
    run, _ = make_run(directory, network, small_mnist)
    done = fork_main("--mode=export", f"--logdir={directory}", "--run_name=run", cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")
    return run.path, done.stdout.splitlines()


@pytest.fixture
def test_images(small_mnist):
    _, test_set = load("mnist", data_dir=small_mnist)
    return test_set


def keras_scores(network, images):
    return network.predict(images / np.float32(255), verbose=0)


@pytest.mark.parametrize("name", ["keras", *NAMES])
def test_the_figures_match_the_exported_file_on_the_test_set(name, exported, network, test_images):
    run, _ = exported
    rows = json.loads((run / "export" / "export.json").read_text())["formats"]
    (row,) = [row for row in rows if row["format"] == name]
    path = run / PLACES[name]
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    assert (row["path"], row["bytes"]) == (str(path), sum(f.stat().st_size for f in files))
    expected = scores = keras_scores(network, test_images.images)
    if name != "keras":
        scores = FORMATS[name].open(path)(test_images.images)
        difference = np.abs(scores - expected).max()
        assert row["largest_difference"] == pytest.approx(difference, abs=1e-5)
        assert (difference < 1e-4) == (name != "litert_int8")
    assert row["accuracy"] == (scores.argmax(1) == test_images.labels).mean() > 0.5
    assert 0 < row["one_image_s"] < 60


@pytest.mark.parametrize("name", ["saved_model", "onnx"])
def test_formats_that_promise_it_take_no_image(name, exported, test_images):
    run, _ = exported
    found = FORMATS[name].open(run / PLACES[name])(test_images.images[:0])
    assert (found.shape, found.dtype) == ((0, 10), np.float32)


def test_each_format_prints_a_line_and_adds_a_table_row(exported):
    run, lines = exported
    figures = json.loads((run / "export" / "export.json").read_text())
    assert [export_module._as_text(row) for row in figures["formats"]] == lines
    assert [line.partition(":")[0] for line in lines] == ["keras", *NAMES]
    rows = table({"mine": figures}).splitlines()[2:]
    assert [row.split()[:4] for row in rows] == [["|", "mine", "|", f] for f in ["keras", *NAMES]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 200])
def test_exported_files_accept_any_number_of_images(name, count, exported, test_images):
    run, _ = exported
    scores = FORMATS[name].open(run / PLACES[name])
    images = test_images.images[:count]
    assert images.dtype == np.uint8
    found = scores(images)
    assert (found.shape, found.dtype) == ((count, 10), np.float32)
    one_by_one = np.concatenate([scores(images[i : i + 1]) for i in range(min(count, 3))])
    np.testing.assert_allclose(found[:3], one_by_one, atol=1e-5)


def test_the_quantized_file_is_the_smallest(exported):
    run, _ = exported
    size = {name: (run / PLACES[name]).stat().st_size for name in ("litert", "litert_int8")}
    assert size["litert_int8"] < size["litert"]


def test_the_page_has_the_table_of_both_networks():
    rows = re.findall(r"^\| (mlp|cnn) \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(run, form) for run in ("mlp", "cnn") for form in ("keras", *NAMES)]


@pytest.mark.parametrize("code", CODE, ids=lambda code: code.split()[1])
def test_the_code_on_the_page_reads_digits(code, exported, network, test_images, monkeypatch):
    run, _ = exported
    monkeypatch.chdir(run / "export")
    names = {"images": test_images.images}
    exec(code, names)
    expected = keras_scores(network, test_images.images).argmax(1)
    np.testing.assert_array_equal(names["digits"], expected)


def test_calibration_uses_images_of_the_local_shards(run, tmp_path, monkeypatch, capsys):
    run, recipe = run
    for half, examples in zip(
        ("train", "test"), load("mnist", data_dir=recipe.data_dir), strict=True
    ):
        write_shards(tmp_path / "shards", examples, half=half, count=2, form="tfrecord")
    next((tmp_path / "shards").glob("train*-00001-of-00002")).unlink()
    monkeypatch.setattr(shard_files, "_KEPT_BELOW_BYTES", 1)
    monkeypatch.setattr(export_module, "CALIBRATION_IMAGES", 400)
    given, form = [], FORMATS["litert_int8"]
    write = form.write
    monkeypatch.setattr(
        form,
        "write",
        lambda path, model, images: given.append(images) or write(path, model, images),
    )
    recipe = dataclasses.replace(recipe, data_dir=str(tmp_path / "shards"))
    export(dataclasses.replace(recipe, formats=("litert_int8",), json=True))
    keras_line, line = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert abs(line["accuracy"] - keras_line["accuracy"]) < 0.05
    np.testing.assert_array_equal(given[0], load("mnist", data_dir=recipe.data_dir)[0].images[:400])


def test_exporting_to_another_directory_leaves_the_run_unchanged(run, tmp_path, capsys):
    run, recipe = run
    before = tree(run.path)
    elsewhere = tmp_path / "else" / "where"
    export(dataclasses.replace(recipe, formats=("onnx",), export_dir=str(elsewhere), json=True))
    assert tree(run.path) == before
    assert sorted(path.name for path in elsewhere.iterdir()) == ["export.json", "model.onnx"]
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in printed] == [str(run.model), str(elsewhere / "model.onnx")]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_half_precision_network_is_exported_in_full_precision(
    policy, small_mnist, test_images, tmp_path, capsys
):
    half = small_network(dtype=policy)
    run, recipe = make_run(tmp_path, half, small_mnist, dtype_policy=policy)
    export(dataclasses.replace(recipe, formats=("onnx",)))
    assert f"the network computes in {policy}; " in capsys.readouterr().err
    scores = FORMATS["onnx"].open(run.exports / "model.onnx")(test_images.images)
    full = keras_scores(in_float32(half), test_images.images)
    np.testing.assert_allclose(scores, full, atol=1e-5)
    assert np.abs(scores - keras_scores(half, test_images.images)).max() > 1e-5


@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit(143), OSError(28, "No space left")])
@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_export_keeps_the_earlier_files(name, end, there_before, run, monkeypatch):
    run, recipe = run
    path = run.path / PLACES[name]
    if there_before:
        path.parent.mkdir()
        path.mkdir() if name == "saved_model" else path.write_bytes(b"the old one")
    before = tree(run.path)

    def write(self, path, saved_model, images):
        if name == "saved_model":
            path.mkdir()
            path = path / "saved_model.pb"
        path.write_bytes(b"the first half")
        raise end

    monkeypatch.setattr(type(FORMATS[name]), "write", write)
    with pytest.raises((KeyboardInterrupt, SystemExit, MnistKerasError)) as caught:
        export(dataclasses.replace(recipe, formats=(name,)))
    if isinstance(end, OSError):
        assert str(caught.value).startswith(f"{run.exports} cannot be written. Received: No space")
    after = tree(run.path)
    after.pop("export", None)
    before.pop("export", None)
    assert after == before


def test_the_next_export_removes_leftovers_of_a_killed_one(run):
    run, recipe = run
    left = run.exports / ".unfinished-saved_model-0badcafe"
    left.mkdir(parents=True)
    (left / "saved_model.pb").write_bytes(b"half")
    export(dataclasses.replace(recipe, formats=("saved_model",)))
    assert sorted(path.name for path in run.exports.iterdir()) == ["export.json", "saved_model"]


def test_a_file_with_different_scores_is_not_kept(run, monkeypatch):
    run, recipe = run
    form = type(FORMATS["onnx"])
    of_file = form.open
    monkeypatch.setattr(
        form, "open", lambda self, path: lambda images: 1.01 * of_file(self, path)(images)
    )
    with pytest.raises(MnistKerasError) as caught:
        export(dataclasses.replace(recipe, formats=("onnx",)))
    assert str(caught.value).startswith(
        "the export as onnx has other scores than the model and was deleted. Received: "
    )
    assert list(run.exports.iterdir()) == []


def test_nan_scores_count_as_different(test_images):
    class Broken:
        name, is_exact = "broken", True

        def open(self, path):
            return lambda images: np.full((len(images), 10), np.nan)

    check = Check(lambda images: np.zeros((len(images), 10)), test_images)
    with pytest.raises(MnistKerasError, match="has other scores"):
        check.compare(Broken(), pathlib.Path())


def test_the_time_per_image_is_the_median_over_calls(test_images):
    now, calls = [0.0], []

    def run(images):
        calls.append(len(images))
        now[0] += 100.0 if len(calls) % 3 == 0 else 2.0
        return np.eye(10)[test_images.labels[: len(images)]]

    check = Check(run, test_images, clock=lambda: now[0])
    assert check.figures == {"accuracy": 1.0, "one_image_s": 2.0}
    assert calls[0] == len(test_images.labels)
    assert set(calls[1:]) == {1}


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (
            ["onnxruntime"],
            "Received: no onnxruntime. Expected: pip install onnxruntime, "
            "or --formats=saved_model,litert,litert_int8.",
        ),
        (
            ["tf2onnx", "ai_edge_litert"],
            "Received: no ai_edge_litert, tf2onnx. Expected: pip install ai-edge-litert tf2onnx, "
            "or --formats=saved_model.",
        ),
    ],
)
def test_a_missing_library_is_named_with_its_install_command(absent, message, run, monkeypatch):
    _, recipe = run
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else found(name)
    )
    with pytest.raises(MnistKerasError) as caught:
        export(recipe)
    assert str(caught.value) == f"some of --formats need more libraries. {message}"


def test_the_libraries_to_install_are_in_the_extra():
    setup = (pathlib.Path(__file__).parent.parent.parent / "setup.py").read_text()
    extra = re.search(r"EXPORT = \[(.*?)\]", setup, re.DOTALL)[1]
    packages = {package for form in FORMATS.values() for _, package in form.packages}
    assert packages <= set(re.findall(r'"([a-z0-9-]+)>=', extra))


def test_a_second_export_at_the_same_time_is_refused(run):
    run, recipe = run
    with (
        export_module._written_to(run.exports),
        pytest.raises(MnistKerasError, match=r"^another process is exporting\. Received: "),
    ):
        export(dataclasses.replace(recipe, formats=("saved_model",)))
    assert list(run.exports.iterdir()) == []


@pytest.mark.parametrize(
    "theirs",
    [
        *("saved_model/mine", "saved_model/variables/mine", "saved_model/assets/mine"),
        *("saved_model/saved_model.pb/mine", "saved_model/variables/variables.d/mine"),
        *("model.onnx/mine", "export.json/mine", "saved_model"),
    ],
)
def test_an_export_replaces_nothing_but_an_earlier_export(run, theirs, tmp_path):
    run, recipe = run
    place = tmp_path / "place"
    mine = place / theirs
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("precious")
    formats = ("onnx", "saved_model")
    with pytest.raises(MnistKerasError, match=r"^an export would replace other files\. Received: "):
        export(dataclasses.replace(recipe, formats=formats, export_dir=str(place)))
    assert mine.read_text() == "precious"
    assert [path for path in place.rglob("*") if path.is_file()] == [mine]


def test_an_export_may_be_repeated(run):
    run, recipe = run
    for _ in range(3):
        export(recipe)
    assert {path.name for path in run.exports.iterdir()} == {
        "export.json",
        *(form.file_name for form in FORMATS.values()),
    }


def test_a_disk_that_is_busy_is_not_another_export(tmp_path):
    with (
        pytest.raises(MnistKerasError, match=r"cannot be written\. Received: Resource temp"),
        export_module._written_to(tmp_path),
    ):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_a_run_without_a_model_is_not_exported(run):
    run, recipe = run
    run.model.unlink()
    with pytest.raises(UsageError, match=r"^the run is not finished\."):
        export(recipe)


def test_a_directory_without_write_permission_is_an_error(run, tmp_path):
    _, recipe = run
    (tmp_path / "file").write_text("")
    with pytest.raises(MnistKerasError, match=r"cannot be written. Received: Not a directory"):
        export(dataclasses.replace(recipe, export_dir=str(tmp_path / "file" / "export")))


def test_the_example_is_true():
    assert doctest.testmod(export_module).failed == 0
