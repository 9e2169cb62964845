import doctest
import math

import pytest

from mnist_keras.callbacks.sinks import MlflowSink, mlflow_run
from tests.callbacks.sinks import stores
from tests.callbacks.sinks.sessions import write

pytest.importorskip("mlflow.tracking", reason="pip install 'mnist_keras[mlflow]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def sink(tmp_path, uri):
    return MlflowSink(
        tmp_path / "mlflow",
        tracking_uri=uri,
        run_name="mine",
        parameters={"batch_size": 200, "schedule": None},
    )


def test_mlflow_shows_values_parameters_and_the_end(sink, uri):
    write(sink, [(0, {"loss": 2.0, "learning_rate/d_optimizer": 0.1})], begins=0)
    write(sink, [(7, {"epoch_loss": 1.0, "loss (epoch mean)": 3.0})], begins=3)
    ((run, points),) = stores.mlflow_runs(uri).values()
    assert points == {
        "loss": {0: 2.0},
        "learning_rate/d_optimizer": {0: 0.1},
        "epoch_loss": {7: 1.0},
        "loss _epoch mean_": {7: 3.0},
    }
    assert run.data.params == {"batch_size": "200", "schedule": "None"}
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")


@pytest.mark.parametrize(("interrupted", "status"), [(False, "FAILED"), (True, "KILLED")])
def test_mlflow_shows_that_a_training_failed(interrupted, status, sink, uri):
    for is_failing in (True, False):
        sink.begin(0 if is_failing else 1)
        sink.write(0 if is_failing else 1, {"loss": 2.0})
        if is_failing:
            sink.fail(interrupted=interrupted)
        sink.close()
        ((run, _),) = stores.mlflow_runs(uri).values()
        assert run.info.status == (status if is_failing else "FINISHED")


def test_mlflow_reads_values_that_are_not_finite(sink, uri):
    write(sink, [(0, {"a": math.nan, "b": math.inf, "c": -math.inf})], begins=0)
    ((_, points),) = stores.mlflow_runs(uri).values()
    largest = 1.7976931348623157e308
    assert points == {"a": {0: "nan"}, "b": {0: largest}, "c": {0: -largest}}


def test_mlflow_accepts_any_name_and_many_values(sink, uri):
    names = ["a//b", "./c", "../d", 'e"f:%', *(f"value {n}" for n in range(1500))]
    write(sink, [(0, dict.fromkeys(names, 1.0))], begins=0)
    ((_, points),) = stores.mlflow_runs(uri).values()
    assert len(points) == len(names)


def test_the_experiment_is_created_or_found(tmp_path, uri):
    from mlflow.tracking import MlflowClient

    for name in ("one", "two"):
        sink = MlflowSink(tmp_path / name, tracking_uri=uri, experiment="digits")
        write(sink, [(0, {"loss": 2.0})], begins=0)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("digits").experiment_id
    assert len(client.search_runs([experiment])) == 2


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(mlflow_run).failed == 0


def test_a_run_that_the_store_lacks_is_created(sink, uri):
    sink.journal.parent.mkdir()
    sink.journal.with_name("run.json").write_text(f'{{"run": "{32 * "0"}"}}')
    write(sink, [(3, {"loss": 1.0})], begins=3)
    ((_, points),) = stores.mlflow_runs(uri).values()
    assert points == {"loss": {3: 1.0}}
