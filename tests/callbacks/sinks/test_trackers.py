"""What each tracker's sink does, read by the tracker's own reader."""

import importlib

import pytest

from mnist_keras.callbacks.sinks import AimSink, MlflowSink, WandbSink
from tests.callbacks.sinks import stores
from tests.callbacks.sinks.sessions import write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]
PACKAGES = {"mlflow": "mlflow.tracking", "wandb": "wandb.proto", "aim": "aim.sdk"}
SINKS = {
    "mlflow": lambda path: MlflowSink(path / "mlflow", tracking_uri=f"sqlite:///{path}/mlflow.db"),
    "wandb": lambda path: WandbSink(path / "wandb", mode="offline"),
    "aim": lambda path: AimSink(path / "aim", repo=path / "repo"),
}


@pytest.fixture(params=PACKAGES)
def name(request):
    try:
        importlib.import_module(PACKAGES[request.param])
    except ImportError:
        pytest.skip(f"{request.param} is not installed: pip install 'mnist_keras[{request.param}]'")
    return request.param


def test_no_step_is_sent_twice_at_a_resume(name, tmp_path):
    sink = SINKS[name](tmp_path)
    write(sink, [(step, {"loss": float(step)}) for step in range(5)], begins=0)
    write(sink, [(step, {"loss": -1.0}) for step in range(2, 7)], begins=2)
    assert stores.RUNS[name](tmp_path) == [
        {"loss": {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: -1.0, 6: -1.0}}
    ]


def test_a_training_that_starts_anew_is_a_new_run(name, tmp_path):
    sink = SINKS[name](tmp_path)
    for _ in range(2):
        write(sink, [(0, {"loss": 2.0})], begins=0)
    assert stores.RUNS[name](tmp_path) == [{"loss": {0: 2.0}}] * 2


def test_a_value_may_have_the_name_of_the_step(name, tmp_path):
    sink = SINKS[name](tmp_path)
    write(sink, [(3, {"loss": 2.0, "step": 7.0})], begins=0)
    write(sink, [(4, {"loss": 1.0, "step": 8.0})], begins=4)
    (points,) = stores.RUNS[name](tmp_path)
    assert points["loss"] == {3: 2.0, 4: 1.0}
