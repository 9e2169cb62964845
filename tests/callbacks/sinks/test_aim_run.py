import doctest
import math

import pytest

from mnist_keras.callbacks.sinks import AimSink, aim_run
from tests.callbacks.sinks import stores
from tests.callbacks.sinks.sessions import write

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


def test_aim_shows_values_parameters_and_names(sink, tmp_path):
    write(sink, [(0, {"loss": 2.0, "learning_rate/d_optimizer": 0.1})], begins=0)
    write(sink, [(7, {"epoch_loss": math.inf, "loss (epoch mean)": math.nan})], begins=3)
    ((run, points),) = stores.aim_runs(tmp_path / "repo").values()
    assert points == {
        "loss": {0: 2.0},
        "learning_rate/d_optimizer": {0: 0.1},
        "epoch_loss": {7: math.inf},
        "loss (epoch mean)": {7: "nan"},
    }
    assert run["hparams"] == {"batch_size": 200}
    assert (run.name, run.experiment) == ("mine", "digits")


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(aim_run).failed == 0
