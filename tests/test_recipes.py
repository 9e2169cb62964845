"""The flag files in recipes/."""

import dataclasses
import pathlib

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from mnist_keras.app import flags
from mnist_keras.app.config import RunConfig

RECIPES = sorted((pathlib.Path(__file__).parent.parent / "recipes").iterdir())


@pytest.fixture
def parse(monkeypatch):
    if "batch_size" not in absl_flags.FLAGS:
        flags.define()
    monkeypatch.delenv("MNIST_KERAS_DATA_DIR", raising=False)
    with flagsaver.flagsaver():
        absl_flags.FLAGS.unparse_flags()
        yield lambda path: flags.parse(["main.py", f"--flagfile={path}"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_states_its_purpose_then_valid_flags(path, parse):
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert all(line.startswith("--") for line in lines)
    assert parse(path) != RunConfig()


def test_the_bfloat16_recipe_differs_from_the_tutorials_only_in_precision(parse):
    path = next(path for path in RECIPES if path.stem == "bfloat16")
    assert parse(path) == dataclasses.replace(RunConfig(), dtype_policy="mixed_bfloat16")
