"""Names of tests are short, and no test hides another one of the same name."""

import ast
import collections
import pathlib

import pytest

TESTS = pathlib.Path(__file__).parent
MOST_WORDS = 10


@pytest.fixture(scope="module")
def names():
    """[(file, class or None, name)] of all test functions."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        for scope in (module, *(node for node in classes if node.name.startswith("Test"))):
            found += [
                (path.relative_to(TESTS).as_posix(), getattr(scope, "name", None), node.name)
                for node in scope.body
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            ]
    return found


def test_every_name_has_at_most_ten_words(names):
    def words(name):
        return name.removeprefix("test_").split("_")

    assert [f"{file}: {name}" for file, _, name in names if len(words(name)) > MOST_WORDS] == []


def test_every_name_occurs_once(names):
    counts = collections.Counter(names)
    assert [f"{file}: {name}" for (file, _, name), count in counts.items() if count > 1] == []
