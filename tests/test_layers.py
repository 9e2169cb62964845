"""Which folder may import which, and the import paths of earlier versions."""

import ast
import importlib
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests import forks
from tests.command_line import environment

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "mnist_keras"
ALIASES = PACKAGE / "aliases"
APPLICATION = {"app", "photos"}
MOST_MODULES_IN_ROOT = 8
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"

# {earlier import path: the present one}
MODULES = {
    "mnist_keras.callbacks.event_callback": "mnist_keras.callbacks.tensorboard.event_callback",
    "mnist_keras.callbacks.step_callback": "mnist_keras.callbacks.base",
    "mnist_keras.data.photo": "mnist_keras.photos.photo",
    "mnist_keras.data.photo_file": "mnist_keras.photos.photo_file",
    "mnist_keras.data.sources": "mnist_keras.data.datasets.catalog",
    "mnist_keras.data.synthetic": "mnist_keras.data.datasets.synthetic",
    "mnist_keras.multi_step": "mnist_keras.model.multi_step",
    "mnist_keras.networks": "mnist_keras.app.networks",
    "mnist_keras.schedules": "mnist_keras.app.schedules",
    "mnist_keras.state.storage": "mnist_keras.checkpoint.storage",
    "mnist_keras.state.training_state": "mnist_keras.checkpoint.training_state",
}
OBJECTS = {
    "mnist_keras.SumSquaredError": "mnist_keras.model.losses.SumSquaredError",
    "mnist_keras.TapeModel": "mnist_keras.model.tape_model.TapeModel",
    "mnist_keras.exam.Exam": "mnist_keras.callbacks.tensorboard.exam.Exam",
    "mnist_keras.networks.mlp": "mnist_keras.app.networks.mlp",
    "mnist_keras.optimizers.SGD": "mnist_keras.model.optimizers.SGD",
    "mnist_keras.prediction.Reading": "mnist_keras.photos.reading.Reading",
    "mnist_keras.prediction.predict": "mnist_keras.app.predict.predict",
    "mnist_keras.prediction.probabilities": "mnist_keras.probabilities.probabilities",
    "mnist_keras.prediction.read": "mnist_keras.photos.reading.read",
    "mnist_keras.shard.main": "mnist_keras.app.shard.main",
    "mnist_keras.state.storage.Disk": "mnist_keras.checkpoint.storage.Disk",
}


def lint(directory):
    """The result of import-linter for the package in a directory."""
    pytest.importorskip(
        "importlinter", reason="import-linter is not installed: no layer is checked"
    )
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_the_contracts_of_pyproject_are_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        (
            "model/losses.py",
            "import mnist_keras.app.schedules",
            ["folders are layers", "the library does not import the application"],
        ),
        (
            "data/order.py",
            "import mnist_keras.data.datasets.catalog",
            ["the library does not import the application"],
        ),
        ("console/terminal.py", "import mnist_keras.data.order", ["folders are layers"]),
    ],
    ids=["library imports application", "data imports datasets", "two folders in a circle"],
)
def test_a_wrong_import_breaks_its_contracts(module, line, broken, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "mnist_keras")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / "mnist_keras" / module, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    done = lint(tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert [text.removesuffix(" BROKEN") for text in lines if text.endswith(" BROKEN")] == broken


def test_every_folder_is_in_the_contracts():
    api = pytest.importorskip("importlinter.api", reason="import-linter is not installed")
    contracts = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")
    library = next(contract for contract in contracts if contract["type"] == "forbidden")
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {ALIASES.name}
    assert set(layers["layers"]) == folders
    sources = {name.removesuffix(".*").split(".")[1] for name in library["source_modules"]}
    assert sources == folders - APPLICATION


def test_the_package_root_has_few_modules():
    modules = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(modules) <= MOST_MODULES_IN_ROOT, modules


def imported_names(path):
    """The full names that a file of the package imports, from anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.slow
def test_no_module_imports_an_earlier_path():
    # import-linter does not know these paths, so it would miss a wrong import by one of them.
    earlier = {*earlier_paths(), "mnist_keras.state"}
    files = [*(path for path in PACKAGE.rglob("*.py") if ALIASES not in path.parents)]
    files += [ROOT / "main.py", *(ROOT / "examples").rglob("*.py")]
    found = {str(path.relative_to(ROOT)): imported_names(path) & earlier for path in files}
    assert {name: names for name, names in found.items() if names} == {}


def earlier_paths():
    """The import paths that a file in the folder of aliases serves."""
    files = (path for path in ALIASES.rglob("*.py") if path.name != "__init__.py")
    parts = (path.relative_to(ALIASES).with_suffix("").parts for path in files)
    return {".".join(("mnist_keras", *names)) for names in parts}


def test_every_alias_is_tested():
    of_objects = {path.rpartition(".")[0] for path in OBJECTS} & earlier_paths()
    assert earlier_paths() == MODULES.keys() | of_objects


@pytest.mark.parametrize("earlier", MODULES)
def test_an_earlier_path_gives_the_same_module(earlier):
    parent, _, name = earlier.rpartition(".")
    imported = {}
    exec(f"from {parent} import {name}", imported)
    present = importlib.import_module(MODULES[earlier])
    assert importlib.import_module(earlier) is present
    assert imported[name] is present


@pytest.mark.parametrize("earlier", OBJECTS)
def test_an_earlier_path_gives_the_same_object(earlier):
    found, expected = (
        getattr(importlib.import_module(module), name)
        for module, _, name in (path.rpartition(".") for path in (earlier, OBJECTS[earlier]))
    )
    assert found is expected


@pytest.mark.slow
def test_earlier_paths_work_before_the_current_ones_are_imported():
    program = "import importlib, sys\n" + "".join(
        f"import {earlier} as earlier\n"
        f"assert earlier is importlib.import_module({present!r}), {earlier!r}\n"
        for earlier, present in MODULES.items()
    )
    done = forks.run([sys.executable, "-c", program], cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr


def test_the_earlier_command_to_cut_shards_prints_its_help():
    done = subprocess.run(
        [sys.executable, "-m", "mnist_keras.shard", "--help"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--count COUNT" in done.stdout
