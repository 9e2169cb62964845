import re

import pytest

from mnist_keras.app.config import RunConfig
from mnist_keras.app.find_learning_rate import find_learning_rate
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.app.train import train
from mnist_keras.callbacks import range_test
from mnist_keras.errors import MnistKerasError, UsageError
from tests.command_line import tree, write_small_mnist

pytestmark = pytest.mark.slow

SWEEP = "sweeps/learning_rate"


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture
def recipe(small_mnist, tmp_path):
    """recipe(...): the settings of a small run."""

    def make(**settings):
        usual = {"dataset": "mnist", "batch_size": 100, "epochs": 1, "run_name": "a"}
        places = {"data_dir": str(small_mnist), "logdir": str(tmp_path)}
        return RunConfig(**{**usual, **places, **settings})

    return make


def sweep(recipe, **settings):
    find_learning_rate(recipe(mode="find_learning_rate", **settings))


def test_the_rate_is_printed_and_only_the_sweep_written(recipe, tmp_path, capsys):
    sweep(recipe)
    out, err = capsys.readouterr()
    [rate] = re.findall(r"^suggested learning rate: (\S+)\n\Z", out)
    assert 1e-3 < float(rate) < 0.5
    assert f"to train with it: --learning_rate={rate} instead of --mode=find_learning_rate" in err
    assert f"the loss at each rate: {tmp_path}/a/{SWEEP}/curve.png. Watch: " in err
    names = [name for name, data in tree(tmp_path).items() if data is not None]
    events, picture = sorted(names, reverse=True)
    assert picture == f"a/{SWEEP}/curve.png"
    assert events.startswith(f"a/{SWEEP}/events.out.tfevents.")


def test_run_and_sweep_do_not_change_each_other(recipe, tmp_path, capsys):
    run = RunDirectory(tmp_path / "a")
    sweep(recipe)
    of_sweep = tree(run.path / SWEEP)
    train(recipe(report=False))
    assert tree(run.path / SWEEP) == of_sweep
    of_run = {name: data for name, data in tree(run.path).items() if "sweeps" not in name}
    capsys.readouterr()
    sweep(recipe, learning_rate=0.5, schedule="cosine")
    assert "suggested learning rate: " in capsys.readouterr().out
    assert {name: data for name, data in tree(run.path).items() if "sweeps" not in name} == of_run


def test_rate_and_schedule_of_the_recipe_do_not_matter(recipe, capsys):
    found = []
    for settings in ({}, {"learning_rate": 3.0, "schedule": "one_cycle", "epochs": 3}):
        sweep(recipe, **settings)
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]


def test_the_weights_of_another_run_can_be_taken(recipe, tmp_path, summaries_of):
    train(recipe(report=False, learning_rate=0.05))
    first = []
    for name, settings in (("b", {}), ("c", {"start_from": str(tmp_path / "a")})):
        sweep(recipe, run_name=name, **settings)
        first.append(summaries_of(tmp_path / name / SWEEP)["loss"][0][1])
    assert first[1] < 0.8 * first[0]


def test_without_a_suggestion_the_mode_fails_with_the_reason(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(range_test, "_LEAST_FALL", 1e9)
    with pytest.raises(MnistKerasError) as error:
        sweep(recipe)
    assert str(error.value).startswith("no learning rate can be suggested: the loss falls at no ")
    assert (tmp_path / "a" / SWEEP / "curve.png").exists()


def test_several_workers_are_refused(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_KERAS_WORKERS", "a:2222,b:2222")
    monkeypatch.setenv("MNIST_KERAS_WORKER_INDEX", "0")
    with pytest.raises(UsageError) as error:
        sweep(recipe)
    assert str(error.value) == (
        "--mode=find_learning_rate runs on one machine. Received: several workers. "
        "Expected: --distribution=mirrored or one_device."
    )
    assert tree(tmp_path) == {}
