import importlib.util
import pathlib
import subprocess
import sys

import pytest

from benchmarks import programs_table, saving, scaling, speed, thread_settings
from mnist_keras.console import threads
from mnist_keras.data import Examples
from tests.command_line import write_small_mnist

CONTENDERS = [
    *((module, name) for module, names in speed.CONTENDERS.items() for name in names),
    *(("saving", name) for pair in saving.PAIRS.items() for name in pair),
    *(("scaled", order) for order in scaling.ORDERS),
    ("thread_settings", f"mlp: {thread_settings.DEFAULT}"),
    *(("programs", f"{row}: TapeModel") for row in programs_table.ROWS if row != "MobileNetV2"),
]
NEEDS = {"pytorch": "torch", "jax_loop": "jax"}
TOO_SLOW = "PyTorch, compiled"


@pytest.fixture
def train(digits):
    return Examples(*(part[:400] for part in digits))


# PyTorch fails in a process that has loaded TensorFlow.
IN_A_PROCESS = """
import importlib, sys
from mnist_keras.data import load
module, name, data_dir = sys.argv[1:]
train = load(data_dir=data_dir)[0]
importlib.import_module(f"benchmarks.contenders.{module}").CONTENDERS[name](train)(2)
"""


@pytest.mark.parametrize(
    ("module", "name"), [it for it in CONTENDERS if it[0] in NEEDS and it[1] != TOO_SLOW]
)
def test_each_peer_trains_the_requested_number_of_epochs(module, name, tmp_path):
    if importlib.util.find_spec(NEEDS[module]) is None:
        pytest.skip(f"{NEEDS[module]} is not installed")
    data_dir = write_small_mnist(tmp_path)
    command = [sys.executable, "-c", IN_A_PROCESS, module, name, str(data_dir)]
    root = pathlib.Path(speed.__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    losses = [line for line in done.stdout.splitlines() if " loss: " in line]
    assert [line.split(" loss: ")[0] for line in losses] == ["0 0", "1 0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"), dict.fromkeys(it for it in CONTENDERS if it[0] not in NEEDS)
)
def test_each_contender_trains_the_requested_number_of_epochs(
    module, name, train, capsys, monkeypatch
):
    # TensorFlow has already run in this process.
    monkeypatch.setattr(threads, "set_threads", lambda parts: None)
    run = importlib.import_module(f"benchmarks.contenders.{module}").CONTENDERS[name](train)
    capsys.readouterr()
    run(2)
    printed = capsys.readouterr().out.splitlines()
    if module == "tutorial":
        assert [line.split(" loss: ")[0] for line in printed] == ["0 0", "1 0"]


def test_every_measured_contender_exists():
    modules = pathlib.Path(speed.__file__).parent.glob("contenders/[!_]*.py")
    assert {path.stem for path in modules} == {module for module, _ in CONTENDERS}
    scaled = importlib.import_module("benchmarks.contenders.scaled")
    assert scaled.BATCH_SIZES == scaling.BATCH_SIZES
    assert set(scaling.ORDERS) < set(scaled.CONTENDERS)
    programs = importlib.import_module("benchmarks.contenders.programs")
    measured = {f"{row}: {way}" for row in programs_table.ROWS for way in programs_table.WAYS}
    assert measured == set(programs.CONTENDERS)
