import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from mnist_keras.app import predict as module
from mnist_keras.app.config import RunConfig
from mnist_keras.app.evaluate import evaluate
from mnist_keras.app.model_file import model_file
from mnist_keras.app.predict import predict
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.data import write_idx
from mnist_keras.data.datasets.synthetic import synthetic_digits
from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.photos import reading
from mnist_keras.photos.reading import read
from mnist_keras.probabilities import probabilities
from tests.command_line import fork_main, write_small_mnist

CROSS = "categorical_crossentropy"


@pytest.fixture(scope="module")
def network():
    """A network that reads most synthetic digits; its scores are logits."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(64, activation="relu")
    layers = [keras.layers.Flatten(), hidden, keras.layers.Dense(10)]
    network = keras.Sequential([keras.Input((28, 28)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss)
    images, labels = synthetic_digits(4000, seed=0)
    network.fit(images / np.float32(255), labels, batch_size=50, epochs=4, verbose=0)
    return network


@pytest.fixture(scope="module")
def place(network, tmp_path_factory):
    """A working directory with a run and several kinds of files, all with the digits 7 2 0 1."""
    place = tmp_path_factory.mktemp("place")
    run = RunDirectory(place / "logs" / "run")
    run.path.mkdir(parents=True)
    run.store_recipe(RunConfig(loss=CROSS, run_name="run"))
    run.write_model(model_file(network))
    images, labels = synthetic_digits(100, seed=9)
    chosen = [images[np.flatnonzero(labels == digit)[0]] for digit in (7, 2, 0, 1)]
    write_idx(place / "digits.gz", np.array(chosen))
    write_idx(place / "digits", np.array(chosen))
    write_idx(place / "labels", np.array([7, 2, 0, 1], np.uint8))
    sheet = np.full((200, 460), 228, np.uint8)
    for number, image in enumerate(chosen):
        ink = np.asarray(Image.fromarray(image).resize((84, 84))) / 255
        sheet[60:144, 20 + 110 * number : 104 + 110 * number] -= (ink * 180).astype(np.uint8)
    Image.fromarray(sheet).save(place / "数 字.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(sheet, 1)).save(place / "turned.jpg", exif=exif, quality=90)
    Image.new("L", (300, 200), 230).save(place / "empty.png")
    Image.new("L", (1, 1)).save(place / "one.png")
    frames = [Image.new("L", (30, 30), light) for light in (0, 255)]
    frames[0].save(place / "moving.gif", save_all=True, append_images=frames[1:])
    (place / "text.png").write_text("seven\n")
    return place


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def config(*paths, **values):
    given = {"mode": "predict", "run_name": "run", "loss": CROSS, **values}
    return RunConfig(paths=paths, **given)


def test_each_digit_is_printed_with_its_file_and_probability(here, network, capsys):
    assert predict(config("digits", "empty.png")) == 0
    images = read("digits").images / np.float32(255)
    scores = network.predict(images, verbose=0)
    chances = keras.ops.convert_to_numpy(keras.ops.softmax(scores))
    expected = [f"digits: {row.argmax()} {row.max():.4f}" for row in chances]
    assert [line.split()[1] for line in expected] == ["7", "2", "0", "1"]
    assert capsys.readouterr().out.splitlines() == [*expected, "empty.png: no digit"]


def test_a_large_file_is_read_in_pieces_with_equal_results(here, capsys, monkeypatch):
    paths = ("digits.gz", "数 字.png", "digits")
    assert predict(config(*paths)) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(reading, "_MOST_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(reading, "read_idx", lambda *path, **check: pytest.fail("in memory"))
    assert predict(config(*paths, contact_sheet="sheet.png")) == 0
    assert capsys.readouterr().out == expected


def test_json_has_each_files_boxes_in_upright_photo_coordinates(here, capsys):
    files = ["数 字.png", "turned.jpg", "digits.gz", "one.png"]
    assert predict(config(*files, json=True)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == files
    assert [list(line) for line in lines] == [["file", "digits"]] * 4
    read_as = [[found["digit"] for found in line["digits"]] for line in lines]
    assert read_as == [[7, 2, 0, 1]] * 3 + [[]]
    for line in lines[:3]:
        for found in line["digits"]:
            assert list(found) == ["digit", "probability", "box"]
            assert 0.1 < found["probability"] <= 1
    straight, turned = ([found["box"] for found in line["digits"]] for line in lines[:2])
    np.testing.assert_allclose(turned, straight, atol=2)
    for number, (x, y, width, height) in enumerate(straight):
        assert 20 + 110 * number <= x <= x + width <= 104 + 110 * number
        assert 60 <= y <= y + height <= 144
    assert [found["box"] for found in lines[2]["digits"]] == [[0, 0, 28, 28]] * 4


def test_a_bad_file_is_reported_and_the_others_are_read(here, capsys):
    assert predict(config("text.png", "digits", "moving.gif", "labels", "none")) == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["digits:"] * 4
    assert [line.partition(" Received")[0] for line in printed.err.splitlines()] == [
        "error: 'text.png' is not a photo.",
        "error: 'moving.gif' is animated.",
        "error: 'labels' does not contain images of digits.",
        "error: 'none' cannot be read.",
    ]


def test_without_any_digit_the_network_is_not_loaded(here, capsys, monkeypatch):
    monkeypatch.setattr(module, "import_tensorflow", None)
    assert predict(config("empty.png", "one.png")) == 0
    assert capsys.readouterr().out == "empty.png: no digit\none.png: no digit\n"


@pytest.mark.parametrize("mode", [predict, pytest.param(evaluate, marks=pytest.mark.slow)])
def test_a_model_of_another_shape_is_named_with_both_shapes(here, mode):
    run = RunDirectory(here / "logs" / "other")
    run.path.mkdir(exist_ok=True)
    run.store_recipe(RunConfig(dataset="mnist", loss=CROSS, run_name="other"))
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(784)]
    keras.Sequential(layers).save(run.model)
    if mode is evaluate:
        write_small_mnist(here / "data")
    with pytest.raises(MnistKerasError) as caught:
        mode(config("digits", run_name="other", dataset="mnist", data_dir="data"))
    shutil.rmtree(run.path)
    assert str(caught.value) == (
        "logs/other/model.keras does not read digits. Received: a network from (None, 32, 32, 3) "
        "to (None, 784). Expected: from (None, 28, 28) to (None, 10)."
    )


def test_many_images_are_read_in_parts_with_the_same_answer(here, capsys, monkeypatch):
    predict(config("digits", "数 字.png", "digits.gz", json=True))
    at_once = capsys.readouterr().out
    monkeypatch.setattr(module, "_BATCH_SIZE", 3)
    predict(config("digits", "数 字.png", "digits.gz", json=True))
    for line, expected in zip(
        capsys.readouterr().out.splitlines(), at_once.splitlines(), strict=True
    ):
        for found, other in zip(
            json.loads(line)["digits"], json.loads(expected)["digits"], strict=True
        ):
            assert found["probability"] == pytest.approx(other["probability"], abs=1e-5)
            assert {**found, "probability": 0} == {**other, "probability": 0}


def test_control_characters_in_file_names_are_escaped(here, tmp_path, capsys):
    name = str(tmp_path / "a\n\x1b[2J.png")
    Image.new("L", (9, 9)).save(name)
    predict(config(name))
    assert capsys.readouterr().out == f"{tmp_path}/a\\n\\x1b[2J.png: no digit\n"


@pytest.mark.slow
def test_the_contact_sheet_shows_the_photo_and_the_networks_inputs(here, tmp_path):
    path = tmp_path / "sheet.png"
    predict(config("数 字.png", "digits", "empty.png", contact_sheet=str(path)))
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    seen = read("数 字.png").images[0]
    thumb = np.repeat(np.repeat(seen, 3, 0), 3, 1)
    places = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], thumb.shape)
    found = [
        (y, x)
        for y, x in zip(*np.nonzero(places[:, :, 42, 42] == thumb[42, 42]), strict=True)
        if (places[y, x] == thumb).all()
    ]
    assert len(found) == 1
    photo = read("数 字.png").photo.grey
    is_grey = (pixels == pixels[..., :1]).all(2)
    shown = pixels[29 : 29 + photo.shape[0], : photo.shape[1], 0]
    unmarked = is_grey[29 : 29 + photo.shape[0], : photo.shape[1]]
    np.testing.assert_array_equal(shown[unmarked], photo[unmarked])
    assert 0 < np.count_nonzero(~unmarked) < 0.1 * unmarked.size


def test_an_unwritable_contact_sheet_is_an_error(here):
    with pytest.raises(MnistKerasError, match=r"^the contact sheet cannot be written. Received: "):
        predict(config("empty.png", contact_sheet="none/sheet.png"))


def test_predicting_with_a_run_without_model_is_an_error(here):
    run = RunDirectory(here / "logs" / "half")
    run.path.mkdir()
    run.store_recipe(RunConfig())
    with pytest.raises(UsageError, match=r"^the run is not finished. Received: logs/half"):
        predict(config("digits", run_name="half"))
    shutil.rmtree(run.path)


@pytest.mark.slow
def test_the_command_predicts_with_the_newest_run_and_its_loss(here):
    done = fork_main(
        "--mode=predict", "数 字.png", "text.png", "--contact_sheet=sheet.png", "--json", cwd=here
    )
    assert done.stdout, done.stderr
    line = json.loads(done.stdout)
    assert [found["digit"] for found in line["digits"]] == [7, 2, 0, 1]
    scores = keras.models.load_model(here / "logs/run/model.keras").predict(
        read("数 字.png").images / np.float32(255), verbose=0
    )
    expected = probabilities(scores, loss=CROSS).max(1)
    np.testing.assert_allclose([f["probability"] for f in line["digits"]], expected, atol=1e-5)
    assert done.stderr.startswith("error: 'text.png' is not a photo.")
    assert (done.stdout.count("\n"), done.stderr.count("\n"), done.returncode) == (1, 1, 1)
    sheet = pathlib.Path("sheet.png")
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    sheet.unlink()


def test_a_contact_sheet_replaces_no_photo_and_no_directory(here):
    (here / "folder.png").mkdir()
    (here / "folder.png" / "mine").write_text("precious")
    photo = (here / "empty.png").read_bytes()
    for sheet, kind in (("folder.png", "not a file"), ("empty.png", "one of the photos")):
        with pytest.raises(UsageError, match=kind):
            predict(config("empty.png", contact_sheet=sheet))
    assert (here / "folder.png" / "mine").read_text() == "precious"
    assert (here / "empty.png").read_bytes() == photo
