"""The annotations: complete, correct, and usable by other programs."""

import inspect
import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

from tests.command_line import environment
from tests.test_api_reference import OBJECTS

ROOT = pathlib.Path(__file__).parent.parent
PROGRAM = """\
import keras
import numpy as np
from mnist_keras import TapeModel
from mnist_keras.callbacks import Checkpoint, GracefulShutdown, Mistakes, StepLogger
from mnist_keras.callbacks.tensorboard.exam import Exam

model = TapeModel(keras.Sequential([keras.layers.Dense(10)]), batch_parts=2)
exam = Exam(np.zeros((8, 28, 28), np.uint8), np.zeros(8, np.uint8))
callbacks = [StepLogger("logs"), Checkpoint("logs/c", keep=5), GracefulShutdown()]
model.fit(exam.images, exam.labels, callbacks=[*callbacks, Mistakes("logs", exam)])
steps: int = model.steps_trained
"""

# (text in the program, replacement with a mistake, line of the error)
MISTAKES = [
    ('StepLogger("logs")', "StepLogger(100)", 9),
    ("keep=5", "keep='5'", 9),
    ("batch_parts=2", "batch_parts='2'", 7),
    ('Mistakes("logs", exam)', 'Mistakes("logs", 3)', 10),
    ("steps: int", "steps: str", 11),
]


def mypy(*arguments, cwd):
    pytest.importorskip("mypy", reason="mypy is not installed: no type is checked")
    return subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_package_and_examples_match_their_annotations(tmp_path):
    done = mypy(f"--cache-dir={tmp_path}", cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The output of mypy for programs that use the installed package, by file."""
    directory = tmp_path_factory.mktemp("elsewhere")
    build = [sys.executable, "setup.py", "-q", "build_py", f"--build-lib={directory / 'built'}"]
    subprocess.run(build, cwd=ROOT, env=environment(), check=True, capture_output=True)
    venv = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    paths = sysconfig.get_paths(vars={"base": str(venv), "platbase": str(venv)})
    (directory / "built" / "mnist_keras").rename(pathlib.Path(paths["purelib"], "mnist_keras"))
    (directory / "right.py").write_text(PROGRAM, encoding="utf-8")
    for number, (right, wrong, _) in enumerate(MISTAKES):
        program = PROGRAM.replace(right, wrong)
        (directory / f"wrong_{number}.py").write_text(program, encoding="utf-8")
    python = pathlib.Path(paths["scripts"], "python" + (".exe" if os.name == "nt" else ""))
    programs = sorted(path.name for path in directory.glob("*.py"))
    done = mypy(
        f"--python-executable={python}", "--ignore-missing-imports", *programs, cwd=directory
    )
    assert f"(checked {len(programs)} source files)" in done.stdout, done.stdout
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_users_program_matches_the_annotations(found):
    assert [line for line in found if line.startswith("right.py")] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[wrong for _, wrong, _ in MISTAKES])
def test_a_mistake_in_a_program_is_found_at_its_line(number, found):
    errors = [line for line in found if line.startswith(f"wrong_{number}.py")]
    assert errors[0].startswith(f"wrong_{number}.py:{MISTAKES[number][2]}: error: ")


def functions(name, value):
    """{name: function} of a public name: itself, or its public methods."""
    if not inspect.isclass(value):
        return {name: value}
    found = {}
    for own_name, member in vars(value).items():
        if isinstance(member, property):
            member = member.fget
        member = getattr(member, "__func__", member)
        is_public = own_name == "__init__" or not own_name.startswith("_")
        if is_public and inspect.isfunction(member) and member.__module__ == value.__module__:
            found[f"{name}.{own_name}"] = member
    return found


def test_every_public_function_is_annotated():
    incomplete = []
    for name, value in OBJECTS.items():
        for function_name, function in functions(name, value).items():
            signature = inspect.signature(function)
            hints = [parameter.annotation for parameter in signature.parameters.values()]
            if next(iter(signature.parameters), None) in ("self", "cls"):
                del hints[0]
            if inspect.Signature.empty in (*hints, signature.return_annotation):
                incomplete.append(function_name)
    assert incomplete == []
