"""The guides for contributors are correct: paths, names and commands."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "mnist_keras"
GUIDES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("CONTRIBUTING.md", "ARCHITECTURE.md")
}
MARKS = {"slow", "browser", "workers"}
FOR_ONE_MACHINE = (
    "python3 -m venv",
    "pip install pre-commit",
)  # No job of the workflow needs these.


def code_spans(page):
    """The text between single backquotes on a page, without code blocks."""
    text = re.sub(r"^```.*?^```$", "", GUIDES[page], flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def commands():
    """The lines of the code blocks of CONTRIBUTING.md."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDES["CONTRIBUTING.md"], re.DOTALL | re.MULTILINE)
    return {line for block in blocks for line in block.splitlines()}


def load_yaml(path):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: the file is not read")
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def defined():
    """The names that the package and its tests define: functions, classes, values, arguments."""
    defines = re.compile(r"(?:def|class) (\w+)|(\w+)(?:: [^=\n]+)? ?=|(\w+): ")
    files = (path for folder in (PACKAGE, ROOT / "tests") for path in folder.rglob("*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    return {name for match in defines.finditer(text) for name in match.groups() if name}


@pytest.mark.parametrize("page", GUIDES)
def test_every_path_that_a_guide_names_exists(page):
    named = [span for span in code_spans(page) if re.search(r"\w\.(py|md|toml)$|/$", span)]
    named = [span for span in named if "NAME" not in span]
    parents = (ROOT, PACKAGE, PACKAGE / "callbacks", PACKAGE / "data" / "datasets")
    missing = [span for span in named if not any((parent / span).exists() for parent in parents)]
    assert named
    assert missing == []


@pytest.mark.parametrize("page", GUIDES)
def test_every_name_in_a_guide_is_defined(page, defined):
    spans = [span for span in code_spans(page) if re.fullmatch(r"[A-Za-z_][\w.]*", span)]
    ours = [span for span in spans if not span.endswith((".py", ".md", ".toml", ".txt"))]
    names = {part for span in ours for part in span.split(".") if not span.startswith("keras.")}
    assert names
    assert names - defined - MARKS == set()


def test_the_tree_shows_every_folder_of_the_package():
    block = re.search(r"^```\n(.*?)^```$", GUIDES["ARCHITECTURE.md"], re.DOTALL | re.MULTILINE)[1]
    shown, parent = set(), ""
    for indent, name in re.findall(r"^( +)(\w+)/", block, re.MULTILINE):
        parent = name if len(indent) == 2 else parent
        shown.add(name if len(indent) == 2 else f"{parent}/{name}")
    folders = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*/__init__.py")}
    assert shown == {name for name in folders if not name.startswith("aliases/")}


def test_the_workflow_runs_the_commands_of_contributing():
    jobs = load_yaml(".github/workflows/tests.yml")["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    run = {line for step in steps for line in step.get("run", "").splitlines()}
    assert run == {
        line for line in commands() if not line.startswith(("pre-commit", *FOR_ONE_MACHINE))
    }


def test_the_workflow_tests_every_version_in_setup():
    matrix = load_yaml(".github/workflows/tests.yml")["jobs"]["short"]["strategy"]["matrix"]
    assert matrix == {"python-version": ["3.10", "3.11", "3.12", "3.13"]}


def test_the_hooks_run_the_commands_of_contributing():
    [local] = load_yaml(".pre-commit-config.yaml")["repos"]
    entries = {hook["entry"] for hook in local["hooks"]}
    assert entries == {line for line in commands() if line.startswith(("ruff", "mypy", "lint"))}


def test_every_mark_is_declared_explained_and_excluded_from_short_runs(pytestconfig):
    declared = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert declared >= MARKS
    assert set(re.findall(r"^\| `(\w+)` \|", GUIDES["CONTRIBUTING.md"], re.MULTILINE)) == MARKS
    [short] = [line for line in commands() if "pytest" in line and ' -m "' in line]
    assert set(re.findall(r"not (\w+)", short)) == MARKS
