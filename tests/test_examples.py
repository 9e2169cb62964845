"""Each program of examples/ runs, learns, and resumes when it is run again."""

import contextlib
import pathlib
import re
import runpy
import signal
import sys

import keras
import pytest

from mnist_keras import callbacks
from mnist_keras.app import networks
from mnist_keras.errors import Interrupted
from tests.command_line import write_small_mnist

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
SEARCH = "search"  # It has tests of its own, in tests/examples/test_search.py.
# Each accepts --examples, and runs in seconds with few of them.
SMALL = {
    "diffusion": [],
    "distillation": ["--teacher_epochs=2"],
    "gan": [],
    "transformer": [],
    "vae": [],
}


# {name: the tag and the plugin of what it generates}.
SHOWN = {"gan": ("samples", "images"), "transformer": ("translations", "text")}


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The file of an untrained network, to be fine-tuned."""
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    keras.utils.set_random_seed(0)
    networks.build("mlp").save(path)
    return path


@pytest.fixture
def run(small_mnist, trained, tmp_path, monkeypatch, capsys):
    """Run an example; returns its printed lines."""
    monkeypatch.setenv("MNIST_KERAS_DATA_DIR", str(small_mnist))
    monkeypatch.chdir(tmp_path)

    def run_example(name, *arguments):
        keras.utils.set_random_seed(0)
        more = [f"--model={trained}"] if name == "fine_tuning" else []
        monkeypatch.setattr(sys, "argv", [name, *more, *arguments])
        with contextlib.suppress(Interrupted):
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        printed = capsys.readouterr()
        assert "not exact" not in printed.err
        return printed.out.splitlines()

    return run_example


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - SMALL.keys() - {SEARCH}))
def test_it_learns_and_resumes_when_run_again(name, run, tmp_path):
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


@pytest.fixture
def terminated_after(monkeypatch):
    """A context manager: trainings receive SIGTERM after a number of steps."""

    @contextlib.contextmanager
    def terminated(steps):
        class Terminated(callbacks.GracefulShutdown):
            def breaks_execution_at(self, step):
                return step == steps

            def on_train_batch_end(self, batch, logs=None):
                if self.step + 1 == steps:
                    signal.raise_signal(signal.SIGTERM)
                super().on_train_batch_end(batch, logs)

        with monkeypatch.context() as patch:
            patch.setattr(callbacks, "GracefulShutdown", Terminated)
            yield

    return terminated


def left_in(logdir, summaries_of):
    """({directory: TensorBoard's summaries except speed}, {name: bytes of a picture})."""
    directories = {path.parent for path in logdir.rglob("events.*")}
    found = {str(path.relative_to(logdir)): summaries_of(path) for path in directories}
    for tags in found.values():
        tags.pop("examples_per_second", None)
    summaries = {
        (directory, tag, step): (plugin, array.tolist())
        for directory, tags in found.items()
        for tag, steps in tags.items()
        for step, (plugin, array) in steps.items()
    }
    return summaries, {path.name: path.read_bytes() for path in logdir.glob("*.png")}


@pytest.fixture(scope="module")
def uninterrupted():
    """{name: (printed lines, what is left) of a run}, for several interruptions."""
    return {}


# Three steps per epoch: this is in the middle of an epoch, also of the teacher's.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("distillation", 10), *((name, 4) for name in SMALL)])
def test_terminated_and_run_again_it_gives_the_same_result(
    name, steps, run, terminated_after, uninterrupted, summaries_of, tmp_path
):
    epochs = 4 if name == "distillation" else 2
    small = ["--examples=300", f"--epochs={epochs}", *SMALL[name]]
    if name not in uninterrupted:
        lines = run(name, "--logdir=whole", *small)
        uninterrupted[name] = lines, left_in(tmp_path / "whole", summaries_of)
    whole, left = uninterrupted[name]
    with terminated_after(steps):
        first = run(name, "--logdir=parts", *small)
    second = run(name, "--logdir=parts", *small)
    assert re.search(r": \d+\.\d{4}( nats)?$", whole[-1])
    assert whole[-1] not in first
    assert first + second == whole
    assert left_in(tmp_path / "parts", summaries_of) == left
    # After each epoch TensorBoard shows what it generates.
    if shown := SHOWN.get(name):
        assert {
            step: (tag, plugin)
            for (_, tag, step), (plugin, _) in left[0].items()
            if tag == shown[0]
        } == {3: shown, 6: shown}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_docstring_says_its_purpose_and_command(name):
    docstring = (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    assert f"\n    python examples/{name}.py " in docstring


def test_the_table_on_the_page_lists_every_example():
    page = (EXAMPLES / "README.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\.(?:py|ipynb)\]", page, re.MULTILINE)
    files = [path.stem for path in EXAMPLES.glob("*") if path.suffix in (".py", ".ipynb")]
    assert sorted(listed) == sorted(files)
