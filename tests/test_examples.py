"""Each program of examples/ runs, learns, and goes on when it is run again."""

import pathlib
import re
import runpy
import sys

import keras
import pytest

from mnist_keras.app import networks
from tests.command_line import write_small_mnist

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The file of a network that is to be tuned; it has learnt nothing yet."""
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    keras.utils.set_random_seed(0)
    networks.build("mlp").save(path)
    return path


@pytest.fixture
def run(small_mnist, trained, tmp_path, monkeypatch, capsys):
    """Run an example; the lines that it prints."""
    monkeypatch.setenv("MNIST_KERAS_DATA_DIR", str(small_mnist))
    monkeypatch.chdir(tmp_path)

    def run_example(name, *arguments):
        keras.utils.set_random_seed(0)
        more = [f"--model={trained}"] if name == "fine_tuning" else []
        monkeypatch.setattr(sys, "argv", [name, *more, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run_example


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_learns_and_goes_on_when_it_is_run_again(name, run, tmp_path):
    lines = run(name, "--epochs=3")
    scores = [float(re.search(r"accuracy: ([\d.]+)$", line)[1]) for line in lines if "acc" in line]
    guessing = 0.5 if name in ("own_data", "fine_tuning") else 0.1
    assert min(scores) > guessing + 0.2
    steps = [line for line in lines if " loss: " in line]
    assert re.fullmatch(r"0 0 loss: [\d.]+", steps[0])
    directories = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("step-*")}
    again = run(name, "--epochs=4")
    if name == "callbacks_alone":
        assert "0" in again
    else:
        assert "0" not in again
        assert "3" in again
    assert directories
    assert all(directory.startswith(f"logs/{name}") for directory in directories)


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_first_lines_say_what_it_is_and_how_it_is_run(name):
    docstring = (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    assert f"\n    python examples/{name}.py " in docstring


def test_the_table_in_the_page_lists_them_all():
    page = (EXAMPLES / "README.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\.(?:py|ipynb)\]", page, re.MULTILINE)
    files = [path.stem for path in EXAMPLES.glob("*") if path.suffix in (".py", ".ipynb")]
    assert sorted(listed) == sorted(files)
