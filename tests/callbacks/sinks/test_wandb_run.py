import doctest
import json
import math

import pytest

from mnist_keras.callbacks.sinks import WandbSink, wandb_run
from mnist_keras.callbacks.sinks.wandb_log import last_row, records
from mnist_keras.errors import UsageError
from tests.callbacks.sinks import stores
from tests.callbacks.sinks.sessions import write

pytest.importorskip("wandb.proto", reason="pip install 'mnist_keras[wandb]'")


@pytest.fixture
def sink(tmp_path):
    return WandbSink(
        tmp_path / "run",
        project="digits",
        run_name="mine",
        mode="offline",
        parameters={"batch_size": 200},
    )


@pytest.mark.slow
def test_wandb_stores_values_and_parameters(sink, tmp_path, capfd):
    write(sink, [(0, {"loss": 2.0, "learning_rate/d_optimizer": 0.1})], begins=0)
    write(sink, [(7, {"epoch_loss": 1.0}), (7, {"loss": math.nan, "a_loss": math.inf})], begins=7)
    ((run, points),) = stores.wandb_runs(tmp_path / "run").items()
    assert points == {
        "loss": {0: 2.0, 7: "nan"},
        "learning_rate/d_optimizer": {0: 0.1},
        "epoch_loss": {7: 1.0},
        "a_loss": {7: math.inf},
    }
    stored = [record.run for record in stores.wandb_records(tmp_path / "run")[run]]
    first = next(record for record in stored if record.run_id)
    assert (first.run_id, first.project, first.display_name) == (run, "digits", "mine")
    assert {item.key: json.loads(item.value_json) for item in first.config.update}[
        "batch_size"
    ] == 200
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_wandb_shows_that_a_training_failed(sink, tmp_path):
    sink.begin(0)
    sink.write(0, {"loss": 2.0})
    sink.fail(interrupted=False)
    sink.close()
    write(sink, [(1, {"loss": 1.0})], begins=1)
    (stored,) = stores.wandb_records(tmp_path / "run").values()
    assert [it.exit.exit_code for it in stored if it.HasField("exit")] == [1, 0]


@pytest.mark.slow
def test_records_longer_than_a_block_are_read(sink, tmp_path):
    rows = [(step, {f"value {n}": float(n) for n in range(900)}) for step in range(5)]
    write(sink, rows, begins=0)
    ((run, points),) = stores.wandb_runs(tmp_path / "run").items()
    assert points == {f"value {n}": dict.fromkeys(range(5), float(n)) for n in range(900)}
    assert last_row(tmp_path / "run" / "wandb", run) == 2 * 4 + 1


@pytest.mark.slow
def test_a_torn_file_is_read_up_to_its_damage(sink, tmp_path):
    write(sink, [(step, {"loss": float(step)}) for step in range(9)], begins=0)
    (path,) = tmp_path.glob("run/wandb/offline-run-*/*.wandb")
    data = path.read_bytes()
    complete = [*records(data)]
    for end in range(len(data)):
        part = [*records(data[:end])]
        assert part == complete[: len(part)]


def test_without_an_api_key_a_line_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    write(WandbSink(tmp_path / "run", mode="online"), [(0, {"loss": 2.0})], begins=0)
    lines = [line for line in capsys.readouterr().err.splitlines() if "WandbSink" in line]
    assert lines[0].startswith("WandbSink does not reach its tracker")
    assert 'the command "wandb login" stores it' in lines[0]
    assert lines[1].startswith("WandbSink: steps that the tracker's run does not have: 1.")


def test_wandb_can_be_switched_off(tmp_path, capsys):
    write(WandbSink(tmp_path / "run", mode="disabled"), [(0, {"loss": 2.0})], begins=0)
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "run" / "wandb").exists()


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(UsageError, match="the mode of W&B is unknown"):
        WandbSink(tmp_path, mode="of line")


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(wandb_run).failed == 0
