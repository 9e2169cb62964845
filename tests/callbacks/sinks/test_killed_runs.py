"""Real programs, killed by ``kill -9`` and resumed, leave each step once in each store."""

import importlib.util
import os
import pathlib
import signal
import sys

import pytest

from tests import forks
from tests.callbacks.sinks import stores

PROGRAM = pathlib.Path(__file__).with_name("killed_program.py")
ROOT = PROGRAM.parents[3]
READ = {
    "csv": lambda path: [stores.csv_points(path / "steps.csv")],
    "jsonl": lambda path: [stores.json_points(path / "steps.jsonl")],
    **stores.RUNS,
}
# Before the first checkpoint; between two; at once, so that the trackers may lack some values.
KILLS = ["sent3", "sent13", "22"]


def is_installed(name):
    spec = importlib.util.find_spec(name)
    return name not in stores.RUNS or (spec is not None and spec.origin is not None)


def run(directory, when, names):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    # W&B's helper process of this one, which would keep the run of a killed program in use.
    environment.pop("WANDB_SERVICE", None)
    command = [sys.executable, PROGRAM, directory, when, *names]
    return forks.run(command, env=environment)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    run(directory, "never", ["csv"]).check_returncode()
    return stores.csv_points(directory / "steps.csv")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("killed")
    names = [name for name in READ if is_installed(name)]
    for when in KILLS:
        ended = run(directory, when, names)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    done = run(directory, "never", names)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_a_killed_run_has_each_step_once_in_one_run(name, uninterrupted, request):
    if not is_installed(name):
        pytest.skip(f"{name} is not installed: pip install 'mnist_keras[{name}]'")
    (points,) = READ[name](request.getfixturevalue("killed"))
    for curves in (points, uninterrupted := {**uninterrupted}):
        assert curves.pop("examples_per_second").keys() == set(range(30))
    assert points == uninterrupted
    assert points["loss"].keys() == set(range(30))
    assert points["epoch_val_loss"].keys() == {10, 20, 30}
