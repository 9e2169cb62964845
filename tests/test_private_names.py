"""Only _keras.py uses private names of libraries, according to the package's source."""

import ast
import functools
import importlib
import inspect
import pathlib
import textwrap

import keras
import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "mnist_keras"
ALLOWED_FILE = PACKAGE / "_keras.py"
# Private methods of Keras that the package must override; the table in _keras.py says why.
OVERRIDES = {"_maybe_symbolic_build"}
LIBRARIES = ("keras", "tensorflow")
PRIVATE_MODULES = {"src", "python", "core", "compiler", "__internal__"}


def is_private(name):
    return (
        isinstance(name, str)
        and name.startswith("_")
        and name.strip("_") != ""
        and not name.startswith("__")
    )


def private_names(*nodes):
    """The private names that a source defines: functions, classes, variables and attributes."""
    found = set()
    for node in (part for each in nodes for part in ast.walk(each)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("self", "cls"):
                found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return {name for name in found if is_private(name)}


@functools.cache
def private_names_of_libraries(kind):
    """The private names that a class has from Keras and TensorFlow."""
    bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in LIBRARIES]
    return set().union(
        *(private_names(ast.parse(textwrap.dedent(inspect.getsource(base)))) for base in bases)
    )


def uses(tree, *, own, classes):
    """(line, text) of each use of a private name in a source.

    Args:
        tree: the parsed source.
        own: the private names that the package defines.
        classes: {name: class} of the source.
    """
    own_here = private_names(tree)
    for node in ast.walk(tree):
        for path in imported(node):
            library, *parts = path.split(".")
            if library in LIBRARIES and PRIVATE_MODULES & set(parts):
                yield node.lineno, path
        if isinstance(node, ast.ClassDef) and node.name in classes:
            of_library = private_names_of_libraries(classes[node.name]) - OVERRIDES
            for name in private_names(*node.body) & of_library:
                yield node.lineno, f"{node.name}.{name}"
            yield from (use for use in own_uses(node) if use[1].rpartition(".")[2] in of_library)
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            is_own = node.attr in (own if base in ("self", "cls", "super()") else own_here)
            is_module = node.attr in PRIVATE_MODULES and base in ("keras", "tf", "tensorflow")
            if is_module or (is_private(node.attr) and not is_own):
                yield node.lineno, f"{base}.{node.attr}"
        if isinstance(node, ast.Constant) and node.value in names_in_keras_file():
            yield node.lineno, repr(node.value)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith("vars("):
            yield node.lineno, ast.unparse(node)


@functools.cache
def names_in_keras_file():
    """The private names in _keras.py, which other files may not contain as strings."""
    nodes = list(ast.walk(ast.parse(ALLOWED_FILE.read_text(encoding="utf-8"))))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {name for name in attributes | strings if is_private(name)}


def imported(node):
    """The paths that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def own_uses(node):
    """(line, text) of each private name that a class's methods read from the class."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and is_private(part.attr):
            base = ast.unparse(part.value)
            if base in ("self", "cls", "super()"):
                yield part.lineno, f"{base}.{part.attr}"


def classes_of(path):
    """{name: class} of a file of the package."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    name = name.removesuffix(".__init__")
    members = vars(importlib.import_module(name)).items()
    return {n: v for n, v in members if inspect.isclass(v) and v.__module__ == name}


@pytest.mark.slow
def test_no_other_file_uses_a_private_name():
    # The aliases are names of other files.
    paths = [p for p in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "aliases" not in p.parents]
    paths.append(ROOT / "main.py")
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    own = private_names(*trees.values())
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path, tree in trees.items()
        if path != ALLOWED_FILE
        for line, text in uses(tree, own=own, classes=classes_of(path))
    ]
    assert found == [], "\n".join(["these belong into mnist_keras/_keras.py:", *found])


class Mine(keras.Model):
    """Represents a class of the package."""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from keras.src import backend", "keras.src.backend"),
        ("from keras import src", "keras.src"),
        ("import tensorflow.python.eager", "tensorflow.python.eager"),
        ("x = keras.src.backend", "keras.src"),
        ("x = tf.__internal__", "tf.__internal__"),
        ("x = model._flatten_layers()", "model._flatten_layers"),
        ("x = getattr(model, '_loss_tracker')", "'_loss_tracker'"),
        ("vars(layer)['call'] = x", "vars(layer)['call']"),
        ("class Mine: f = lambda self: self._loss_tracker", "self._loss_tracker"),
        ("class Mine: f = lambda self: super()._symbolic_build()", "super()._symbolic_build"),
        ("class Mine:\n def _symbolic_build(self): pass", "Mine._symbolic_build"),
        ("class Mine:\n def f(self): self._loss_tracker = 1", "Mine._loss_tracker"),
        ("class Mine:\n def _maybe_symbolic_build(self): pass", None),
        ("class Mine:\n def f(self): self._own = self._own + 1", None),
        ("class Other:\n def f(self): self._own = other._own", None),
        ("from keras.optimizers import schedules", None),
        ("x = keras.__version__, __name__, _", None),
    ],
)
def test_a_use_of_a_private_name_is_detected(source, expected):
    tree = ast.parse(source)
    own = private_names(tree) | {"_loss_tracker"}
    found = [text for _, text in uses(tree, own=own, classes={"Mine": Mine})]
    assert found[:1] == ([expected] if expected else [])
