"""What ``--sinks`` leaves in the run's directory and in the trackers."""

import importlib.util

import pytest

from mnist_keras.app.config import SINKS, TRACKERS, RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.app.sinks import require_packages, sinks
from mnist_keras.app.train import train
from mnist_keras.callbacks.sinks import tracker
from mnist_keras.errors import UsageError
from tests.callbacks.sinks import stores
from tests.command_line import tree, write_small_mnist

RECIPE = {"dataset": "mnist", "batch_size": 100, "epochs": 2, "log_every_steps": 3}


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture
def start(small_mnist, tmp_path):
    """start(**flags): train the run "mine"; returns its directory."""

    def start(**flags):
        places = {"data_dir": str(small_mnist), "logdir": str(tmp_path / "logs")}
        train(RunConfig(**{**RECIPE, **places, "run_name": "mine", **flags}))
        return tmp_path / "logs" / "mine"

    return start


def test_a_recipe_without_the_flag_has_no_sink(tmp_path):
    assert sinks(RunDirectory(tmp_path), RunConfig()) == []


def test_each_name_makes_one_sink_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tracker.extras, "require", lambda package, needed_by: None)
    made = sinks(RunDirectory(tmp_path), RunConfig(sinks=SINKS))
    names = ["CsvSink", "JsonLinesSink", "MlflowSink", "WandbSink", "AimSink"]
    assert [type(sink).__name__ for sink in made] == names
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_before_anything_happens(name, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    config = RunConfig(sinks=("csv", name), logdir=str(tmp_path))
    with pytest.raises(UsageError) as error:
        train(config)
    assert str(error.value) == (
        f"--sinks={name} needs a package. Received: no {name}. "
        f"Expected: pip install 'mnist_keras[{name}]'."
    )
    assert [*tmp_path.iterdir()] == []
    require_packages(RunConfig(sinks=("csv", "jsonl")))


@pytest.mark.slow
def test_files_have_the_values_of_the_event_files(start, points_of):
    run = start(sinks=("csv", "jsonl"), validation_examples=100)
    points = stores.csv_points(run / "steps.csv")
    assert points == stores.json_points(run / "steps.jsonl")
    assert points.keys() == {
        *points_of(run / "train"),
        "epoch_val_loss",
        "epoch_val_accuracy",
    }
    loss = {step: pytest.approx(value) for step, value in points["loss"].items()}
    assert points_of(run / "train")["loss"] == loss
    assert loss.keys() == {0, 3, 6, 9, 12, 15}


@pytest.mark.slow
def test_extending_and_overwriting_a_run_keep_its_files_right(start):
    run = start(sinks=("csv",), epochs=3)
    expected = stores.csv_points(run / "steps.csv")
    start(sinks=("csv",), overwrite=True)
    start(sinks=("csv",), epochs=3)
    found = stores.csv_points(run / "steps.csv")
    for points in (expected, found):
        del points["examples_per_second"]
    assert found == expected
    start(overwrite=True)
    assert not (run / "steps.csv").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_shows_the_run_and_its_recipe(name, start, monkeypatch):
    pytest.importorskip(f"{name}.sdk" if name == "aim" else name)
    monkeypatch.setattr(tracker.TrackerSink, "patience_s", 240)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = start(sinks=("csv", name))
    if name == "mlflow":
        uri = f"sqlite:///{run.parent}/mlflow.db"
        ((found, points),) = stores.mlflow_runs(uri, experiment="mnist_keras").values()
        shown = found.info.run_name, found.data.params["batch_size"]
    elif name == "aim":
        ((found, points),) = stores.aim_runs(run.parent).values()
        shown = found.name, str(found["hparams"]["batch_size"])
    else:
        ((key, points),) = stores.wandb_runs(run / "wandb").items()
        (found,) = (r.run for r in stores.wandb_records(run / "wandb")[key] if r.run.run_id)
        config = {item.key: item.value_json for item in found.config.update}
        shown = found.display_name, config["batch_size"]
    assert shown == ("mine", "100")
    assert points == stores.csv_points(run / "steps.csv")
    (run / "notes").write_text("mine")
    start(sinks=("csv",), overwrite=True)
    assert name not in tree(run)
    assert tree(run)["notes"] == b"mine"
