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
def test_a_recipe_says_first_what_it_is_for_and_then_flags_that_a_run_can_have(path, parse):
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert all(line.startswith("--") for line in lines)
    assert parse(path) != RunConfig()


def test_the_recipe_in_bfloat16_is_the_tutorials_in_everything_else(parse):
    path = next(path for path in RECIPES if path.stem == "bfloat16")
    assert parse(path) == dataclasses.replace(RunConfig(), dtype_policy="mixed_bfloat16")
