import importlib
import pathlib

import pytest

from benchmarks import saving, scaling, speed
from mnist_keras import batch_parts
from mnist_keras.data import Examples

CONTENDERS = [
    *((module, name) for module, names in speed.CONTENDERS.items() for name in names),
    *(("saving", name) for pair in saving.PAIRS.items() for name in pair),
    *(("scaled", order) for order in scaling.ORDERS),
]
NEEDS = {"pytorch": "torch", "jax_loop": "jax"}
TOO_SLOW = "PyTorch, compiled"


@pytest.fixture
def train(digits):
    return Examples(*(part[:400] for part in digits))


@pytest.mark.parametrize(
    ("module", "name"), dict.fromkeys(it for it in CONTENDERS if it[1] != TOO_SLOW)
)
def test_each_contender_trains_as_many_epochs_as_it_is_told_to(
    module, name, train, capsys, monkeypatch
):
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    # TensorFlow has run before in this process.
    monkeypatch.setattr(batch_parts, "set_threads", lambda parts: None)
    run = importlib.import_module(f"benchmarks.contenders.{module}").CONTENDERS[name](train)
    capsys.readouterr()
    run(2)
    printed = capsys.readouterr().out.splitlines()
    if module in ("tutorial", "pytorch", "jax_loop"):
        assert [line.split(" loss: ")[0] for line in printed] == ["0 0", "1 0"]


def test_all_that_is_measured_is_there():
    modules = pathlib.Path(speed.__file__).parent.glob("contenders/[!_]*.py")
    assert {path.stem for path in modules} == {module for module, _ in CONTENDERS}
    scaled = importlib.import_module("benchmarks.contenders.scaled")
    assert scaled.BATCH_SIZES == scaling.BATCH_SIZES
    assert set(scaling.ORDERS) < set(scaled.CONTENDERS)
