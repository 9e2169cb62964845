import doctest
import math

import pytest

from mnist_keras.callbacks.sinks import AimSink, aim_run
from tests.callbacks.sinks import stores

pytest.importorskip("aim.sdk", reason="pip install 'mnist_keras[aim]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def sink(tmp_path):
    return AimSink(
        tmp_path / "aim",
        repo=tmp_path / "repo",
        experiment="digits",
        run_name="mine",
        parameters={"batch_size": 200},
    )


def write(sink, rows, *, begins):
    sink.patience_s = 240
    sink.begin(begins)
    for row in rows:
        sink.write(*row)
    sink.close()


def test_aim_shows_values_parameters_and_names(sink, tmp_path):
    write(sink, [(0, {"loss": 2.0, "learning_rate/d_optimizer": 0.1})], begins=0)
    write(sink, [(7, {"epoch_loss": 1.0, "loss (epoch mean)": math.nan})], begins=3)
    ((run, points),) = stores.aim_runs(tmp_path / "repo").values()
    assert points == {
        "loss": {0: 2.0},
        "learning_rate/d_optimizer": {0: 0.1},
        "epoch_loss": {7: 1.0},
        "loss (epoch mean)": {7: "nan"},
    }
    assert run["hparams"] == {"batch_size": 200}
    assert (run.name, run.experiment) == ("mine", "digits")


def test_aim_gets_no_step_twice_at_a_resume(sink, tmp_path):
    write(sink, [(step, {"loss": float(step)}) for step in range(5)], begins=0)
    write(sink, [(step, {"loss": -1.0}) for step in range(2, 7)], begins=2)
    ((_, points),) = stores.aim_runs(tmp_path / "repo").values()
    assert points == {"loss": {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: -1.0, 6: -1.0}}


def test_a_run_that_starts_anew_is_a_new_aim_run(sink, tmp_path):
    for _ in range(2):
        write(sink, [(0, {"loss": math.inf})], begins=0)
    found = stores.aim_runs(tmp_path / "repo")
    assert [points for _, points in found.values()] == [{"loss": {0: math.inf}}] * 2


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(aim_run).failed == 0
