import dataclasses

import keras
import numpy as np
import pytest

from mnist_keras import SumSquaredError
from mnist_keras.app import networks
from mnist_keras.app.config import RunConfig
from mnist_keras.app.evaluate import evaluate
from mnist_keras.app.model_file import model_file
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.data import load
from mnist_keras.data.datasets import catalog
from mnist_keras.errors import MnistKerasError, UsageError
from tests.command_line import run_main, tree, write_small_mnist

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture
def run(small_mnist, tmp_path):
    """A run with a model, and the recipe that evaluates it."""
    run = RunDirectory(tmp_path / "a")
    run.path.mkdir()
    recipe = RunConfig(
        mode="evaluate",
        dataset="mnist",
        data_dir=str(small_mnist),
        logdir=str(tmp_path),
        run_name="a",
    )
    run.store_recipe(recipe)
    keras.utils.set_random_seed(2)
    network = networks.build("mlp")
    run.write_model(model_file(network))
    return run, recipe, network


def test_the_scores_cover_the_test_set_and_files_stay_unchanged(run, small_mnist, capsys):
    run, recipe, network = run
    before = tree(run.path)
    evaluate(recipe)
    _, test_set = load("mnist", data_dir=small_mnist)
    scores = network.predict(test_set.images / np.float32(255), verbose=0)
    loss = float(SumSquaredError()(np.eye(10)[test_set.labels], scores))
    accuracy = (scores.argmax(1) == test_set.labels).mean()
    printed = capsys.readouterr().out
    words = printed.split()
    assert printed == f"test loss: {words[2]} accuracy: {words[4]}\n"
    assert float(words[2]) == pytest.approx(loss, rel=1e-5)
    assert float(words[4]) == pytest.approx(accuracy, rel=1e-6)
    assert tree(run.path) == before


def test_the_loss_is_the_recipes(run, capsys):
    _, recipe, _ = run
    lines = []
    for loss in ("sum_squared_error", "categorical_crossentropy"):
        evaluate(dataclasses.replace(recipe, loss=loss))
        lines.append(capsys.readouterr().out.split(" accuracy: "))
    assert lines[0][0] != lines[1][0]
    assert lines[0][1] == lines[1][1]


def test_auto_is_the_data_set_of_the_training(run, monkeypatch):
    class Asked(Exception):
        pass

    def resolve(name, **_):
        raise Asked(name)

    monkeypatch.setattr(catalog, "resolve", resolve)
    run, recipe, _ = run
    run.store_recipe(dataclasses.replace(recipe, dataset="synthetic"))
    with pytest.raises(Asked, match="synthetic"):
        evaluate(dataclasses.replace(recipe, dataset="auto"))
    with pytest.raises(Asked, match="kmnist"):
        evaluate(dataclasses.replace(recipe, dataset="kmnist"))


def test_evaluating_a_run_without_a_model_is_an_error(run):
    run, recipe, _ = run
    run.model.unlink()
    with pytest.raises(UsageError) as caught:
        evaluate(recipe)
    assert str(caught.value) == (
        f"the run is not finished. Received: {run.path}, without a model. "
        f"Expected: a finished run; python main.py --flagfile={run.recipe} resumes it."
    )


def flipped(data):
    """A model with another bit in its weights."""
    at = data.index(b"\x89HDF") + 300
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "of another kind": lambda data: b"no zip",
    "cut off at the end": lambda data: data[:-999],
    "cut off at the beginning": lambda data: data[999:],
    "a flipped bit": flipped,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_model_is_an_error_naming_the_file(damage, run):
    run, recipe, _ = run
    run.model.write_bytes(damage(run.model.read_bytes()))
    with pytest.raises(MnistKerasError) as caught:
        evaluate(recipe)
    assert str(caught.value).startswith(f"{run.model} cannot be opened. Received: ")


def test_an_unreadable_model_does_not_crash_the_process(run, tmp_path):
    run, _, _ = run
    run.model.write_bytes(flipped(run.model.read_bytes()))
    # Without the check of the archive Keras finds the damage, and leaves a file open.
    unchecked = tmp_path / "unchecked"
    unchecked.mkdir()
    program = "import zipfile\nzipfile.ZipFile.testzip = lambda archive: None\n"
    (unchecked / "sitecustomize.py").write_text(program)
    done = run_main(
        "--mode=evaluate", f"--flagfile={run.recipe}", cwd=tmp_path, PYTHONPATH=str(unchecked)
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {run.model} cannot be opened. Received: ")
