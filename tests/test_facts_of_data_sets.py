"""MNIST's numbers are only in its description, in no other file of the package."""

import ast
import pathlib

import pytest

import mnist_keras

PACKAGE = pathlib.Path(mnist_keras.__file__).parent
SIDE, WHITE, CLASSES = 28, 255, 10
# Places where 28 or 255 has another meaning.
ALLOWED = {
    ("data/description.py", SIDE): "the description",
    ("data/description.py", WHITE): "the description",
    ("app/config.py", WHITE): "bytes in the name of a file",
    ("callbacks/tensorboard/drawing.py", WHITE): "gray levels of a picture that is drawn",
    ("callbacks/tensorboard/lettering.py", WHITE): "gray levels of a picture that is drawn",
    ("callbacks/tensorboard/sweep_picture.py", WHITE): "gray levels of a picture that is drawn",
    ("photos/ink.py", WHITE): "gray levels of a photo",
    ("photos/photo_file.py", WHITE): "gray levels of a photo",
}
# Their arguments are numbers of classes or shapes of scores.
TAKE_CLASSES = {"Dense", "one_hot", "eye", "to_categorical", "zeros", "ones", "reshape"}


def parsed():
    """(path in the package, tree) of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def numbers(node):
    """The literal numbers in some code."""
    constants = (child.value for child in ast.walk(node) if isinstance(child, ast.Constant))
    return [value for value in constants if type(value) in (int, float)]


def sides_and_whites(tree):
    return {round(value) for value in numbers(tree) if value in (SIDE, WHITE)}


def counts_classes(node):
    """Whether 10, or 9 for the last class, means the number of classes here."""
    name = ""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = [keyword.value for keyword in node.keywords if "class" in (keyword.arg or "")]
        given += node.args if name in TAKE_CLASSES else []
    elif isinstance(node, ast.Compare):
        given = node.comparators
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        given = [node.right]
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        name = " ".join(ast.unparse(target) for target in targets).lower()
        given = [node.value] if "class" in name and node.value is not None else []
    else:
        return False
    return any(value in (CLASSES, CLASSES - 1) for it in given for value in numbers(it))


def test_the_size_and_white_of_mnist_are_only_in_descriptions():
    found = {(path, number) for path, tree in parsed() for number in sides_and_whites(tree)}
    assert found == set(ALLOWED)


def test_the_number_of_classes_is_only_in_descriptions():
    found = {path for path, tree in parsed() if any(map(counts_classes, ast.walk(tree)))}
    assert found == {"data/description.py"}


@pytest.mark.parametrize(
    "code",
    [
        "layers.Dense(10)",
        "np.zeros((0, 10))",
        "labels.max() > 9",
        "digits % 10",
        "CLASSES = 10",
        "model(classes=10)",
    ],
)
def test_a_number_of_classes_would_be_found(code):
    assert any(map(counts_classes, ast.walk(ast.parse(code))))
