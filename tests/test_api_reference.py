"""The pages that Sphinx builds from the docstrings."""

import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

from tests.command_line import environment

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ROOT / "docs" / "api"
MODULES = (
    "mnist_keras",
    "mnist_keras.callbacks",
    "mnist_keras.callbacks.sinks",
    "mnist_keras.callbacks.tensorboard.picture_callback",
    "mnist_keras.callbacks.tensorboard.builders",
    "mnist_keras.data",
    "mnist_keras.data.augmentation",
    "mnist_keras.photos.photo",
    "mnist_keras.photos.photo_file",
    "mnist_keras.photos.reading",
    "mnist_keras.probabilities",
    "mnist_keras.inputs.deadline",
    "mnist_keras.data.datasets.synthetic",
    "mnist_keras.errors",
    "mnist_keras.callbacks.tensorboard.exam",
    "mnist_keras.app.networks",
    "mnist_keras.model.optimizers",
    "mnist_keras.app.schedules",
    "mnist_keras.triggers",
)
# Public names in modules that are otherwise internal.
NAMES = (
    "mnist_keras.callbacks.base.Fit",
    "mnist_keras.callbacks.base.StepCallback",
    "mnist_keras.callbacks.range_test.suggest",
    "mnist_keras.data.sharded.Sharded",
    "mnist_keras.model.multi_step.StepRecords",
    "mnist_keras.checkpoint.training_state.Position",
)
RESULTS = ("Digit", "Photo", "Reading")  # Shown in the examples of the functions that return them.


def public_objects():
    """{name: object} of all functions and classes that are public."""
    objects = {}
    for name in NAMES:
        module_name, _, own_name = name.rpartition(".")
        objects[name] = getattr(importlib.import_module(module_name), own_name)
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        own = [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module_name and callable(value)
        ]
        names = getattr(module, "__all__", own)
        objects |= {
            f"{module_name}.{name}": getattr(module, name) for name in names if name[0] != "_"
        }
    return objects


OBJECTS = public_objects()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The text of all pages, built with warnings as errors."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed: the API reference is not built")
    target = tmp_path_factory.mktemp("api")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", PAGES, target]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return "".join(page.read_text(encoding="utf-8") for page in target.glob("*.html"))


@pytest.mark.slow
def test_every_public_name_is_on_a_page(pages):
    assert [name for name in OBJECTS if f'id="{name}"' not in pages] == []


@pytest.mark.slow
def test_no_private_name_is_on_a_page(pages):
    anchors = re.findall(r'id="(mnist_keras[\w.]*)"', pages)
    assert len(anchors) > len(OBJECTS)
    assert [anchor for anchor in anchors if "._" in anchor] == []


def test_every_public_docstring_has_a_tested_example():
    without = [name for name, value in OBJECTS.items() if ">>> " not in inspect.getdoc(value)]
    assert [name for name in without if name.rpartition(".")[2] not in RESULTS] == []
    for value in OBJECTS.values():
        *folders, module = value.__module__.split(".")[1:]
        tests = ROOT.joinpath("tests", *folders, f"test_{module}.py")
        assert "doctest.testmod(" in tests.read_text(encoding="utf-8"), tests
