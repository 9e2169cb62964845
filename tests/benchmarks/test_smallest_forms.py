import json
import subprocess
import sys
import types

import pytest

from benchmarks import (
    batch_size,
    callbacks,
    measuring,
    programs_table,
    resuming,
    scaling,
    speed,
    startup,
    thread_settings,
    time_to_99,
    workers,
)
from mnist_keras.console import threads
from tests import forks
from tests.command_line import write_small_mnist
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture
def forking(monkeypatch):
    """The processes of the benchmarks begin with TensorFlow imported: nothing is measured here."""
    names = {name: getattr(subprocess, name) for name in subprocess.__all__}
    own = types.SimpleNamespace(**{**names, "Popen": forks.Popen, "run": forks.run})
    for module in (measuring, resuming, workers):
        monkeypatch.setattr(module, "subprocess", own)


@pytest.fixture
def run(small_mnist, tmp_path, monkeypatch, capsys):
    """Run a benchmark's main; returns the first column of its table and its JSON."""

    def run(module, *arguments):
        name = module.__name__.split(".")[-1]
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        monkeypatch.setattr(
            sys, "argv", [name, f"--data_dir={small_mnist}", f"--results={tmp_path}", *arguments]
        )
        module.main()
        table = capsys.readouterr().out.splitlines()
        assert {line.count(" | ") for line in table} == {table[0].count(" | ")}
        report = json.loads((tmp_path / f"{name}.json").read_text())
        return {line.split(" | ")[0].removeprefix("| ") for line in table[2:]}, report

    return run


def test_speed(run, forking, tmp_path):
    rows, report = run(speed, "--rounds=2", "--epochs=1", "--only=no callback")
    assert rows == set(report["seconds"]) == {speed.FLOOR, "this package, no callback"}
    assert {len(seconds) for seconds in report["seconds"].values()} == {2}
    assert (tmp_path / "speed.png").exists()


def test_programs_table(run, forking):
    rows, report = run(programs_table, "--rounds=1", "--epochs=1", "--only=table,")
    assert rows == set(report["seconds"]) == {"table, tf.data", "table, PyDataset"}


def test_thread_settings(run, forking):
    rows, report = run(thread_settings, "--rounds=1", "--epochs=1", "--only=table")
    assert rows == set(report["seconds"]) == {"table"}
    assert set(report["seconds"]["table"]) > {thread_settings.KERAS, thread_settings.DEFAULT}


def test_callbacks(run, tmp_path, monkeypatch):
    # TensorFlow has already run in this process.
    monkeypatch.setattr(threads, "set_threads", lambda parts: None)
    rows, report = run(callbacks, "--rounds=1", "--epochs=1")
    assert set(report["turns"]) == {
        callbacks.WITHOUT,
        callbacks.LOGGING,
        callbacks.DEFAULT,
        callbacks.ALL,
    }
    assert {callbacks.DEFAULT, "Checkpoint", "Mistakes", "Histograms (on request)"} < rows
    assert (tmp_path / "callbacks.png").exists()


def test_scaling(run, forking, tmp_path):
    rows, report = run(scaling, "--rounds=1", "--times", "2", "--batch_sizes", "50")
    assert (
        rows
        == set(report["turns"])
        == {
            "2,000 images, file order",
            "2,000 images, shuffled",
            "1,000 images, batches of 50",
        }
    )
    assert (tmp_path / "scaling.png").exists()


def test_resuming(run, forking):
    rows, report = run(resuming, "--kills=1", "--only=this package, Checkpoint, arrays")
    found = {it["who"]: it.get("kills") for it in report["results"]}
    assert rows == set(found)
    assert [kill["same_bits"] for kill in found["this package, Checkpoint"]] == [True]


def test_startup(run):
    rows, report = run(startup, "--rounds=1", "--only=main.py, a")
    assert rows == set(report["programs"]) == {"main.py, a wrong flag", "main.py, a finished run"}


def test_time_to_99(run, tmp_path):
    pytest.importorskip("torch")
    rows, report = run(time_to_99, "--seeds=1")
    assert rows == set(report["runs"]) == {time_to_99.THIS, time_to_99.PUBLISHED}
    assert (tmp_path / "time_to_99.png").exists()


def test_workers(run, forking):
    sizes = ["--batch_sizes", "20", "--fitted_sizes", "10", "30"]
    rows, report = run(workers, "--networks", "mlp", "--seconds=0.01", *sizes)
    assert rows == set(report["found"]) == {"mlp"}
    assert set(report["found"]["mlp"]["together"]) == {
        "20",
        "bytes",
        "all_reduce",
        "small_all_reduce",
    }
    assert len(workers.reach_table(report).splitlines()) == 2 + 9


def test_batch_size(run):
    rows, report = run(batch_size, "--accuracy=0.3", "--sizes", "20", "100", "--rates", "0.1")
    assert rows == set(report["sizes"]) == {"20", "100"}
    assert all(best["steps"] > 0 for best in report["sizes"].values())
