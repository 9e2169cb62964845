import json
import math
import os
import pickle
import resource

import keras
import pandas
import pytest

from mnist_keras.callbacks.sinks import CsvSink, JsonLinesSink
from mnist_keras.errors import UsageError
from tests.callbacks.sinks.sessions import write

SINKS = {"csv": CsvSink, "jsonl": JsonLinesSink}
# Two epochs of 4 steps; a batch and an epoch's end have the same number, and names come later.
ROWS = [
    (0, {"loss": 4.0, "learning_rate": 0.1}),
    (2, {"loss": 2.0, "learning_rate": 0.1}),
    (4, {"epoch_loss": 2.5, "epoch_val_loss": 3.0}),
    (4, {"loss": 1.5, "gradient_norm": 0.25}),
    (6, {"loss": 1.25, "gradient_norm": 0.125}),
    (8, {"epoch_loss": 1.0, "epoch_val_loss": 2.0}),
]


@pytest.fixture(params=SINKS)
def make(request, tmp_path):
    return lambda name="steps": SINKS[request.param](tmp_path / f"{name}.{request.param}")


def rows_from(step):
    """What a run that resumes at a step writes: its batch, but not the end of an epoch there."""
    later = [row for row in ROWS if row[0] >= step]
    return later[1:] if step and "epoch_loss" in later[0][1] else later


def values_in(path):
    """[(step, name, value)] by readers of other people."""
    if path.suffix == ".csv":
        frame = pandas.read_csv(path)
        assert list(frame) == ["step", "name", "value"]
        return list(frame.itertuples(index=False, name=None))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        (row["step"], name, float(value))
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]


@pytest.mark.parametrize(
    ("backend", "who"), [("tensorflow", "a TapeModel with a Checkpoint"), ("jax", "a Checkpoint")]
)
def test_a_kept_file_is_told_with_what_would_resume(backend, who, make, monkeypatch, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    sink = make()
    write(sink, ROWS, begins=0)
    sink.keep_earlier()
    assert capsys.readouterr().err == (
        f"the values of an earlier training are kept in {sink.path.parent}/steps-earlier-1"
        f"{sink.path.suffix}: this training does not continue it; {who} would.\n"
    )


def test_a_file_has_each_value_with_its_step(make):
    sink = make()
    write(sink, ROWS, begins=0)
    expected = [(step, name, v) for step, values in ROWS for name, v in values.items()]
    assert values_in(sink.path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("resumed_at", [0, 2, 4, 8])
def test_a_kill_at_any_byte_leaves_no_trace(make, resumed_at):
    uninterrupted, killed = make("one"), make("two")
    write(uninterrupted, ROWS, begins=0)
    expected = uninterrupted.path.read_bytes()
    before = [row for row in ROWS if row not in rows_from(resumed_at)]
    write(killed, before, begins=0)
    durable = len(killed.path.read_bytes()) if before else 0
    for end in range(durable, len(expected) + 1):
        killed.path.write_bytes(expected[:end])
        write(killed, rows_from(resumed_at), begins=resumed_at)
        assert killed.path.read_bytes() == expected, end


def test_the_end_of_an_epoch_is_not_written_twice(make):
    # A run that was stopped between the last step of an epoch and its end repeats the end.
    sink = make()
    write(sink, ROWS[:4], begins=0)
    write(sink, [(4, {**ROWS[2][1], "epoch_accuracy": 0.5}), *ROWS[3:]], begins=4)
    values = values_in(sink.path)
    assert values.count((4, "epoch_loss", 2.5)) == 1
    assert values.count((4, "epoch_accuracy", 0.5)) == 1


def test_another_fit_continues_the_file(make):
    uninterrupted, sink = make("one"), make("two")
    write(uninterrupted, ROWS, begins=0)
    write(sink, ROWS[:3], begins=0)
    write(sink, ROWS[3:], begins=4)
    assert sink.path.read_bytes() == uninterrupted.path.read_bytes()


def test_a_run_that_starts_anew_replaces_the_values(make):
    sink = make()
    write(sink, ROWS, begins=0)
    write(sink, [(0, {"loss": 9.0})], begins=0)
    assert values_in(sink.path) == [(0, "loss", 9.0)]


def test_a_pipe_in_place_of_the_file_is_refused(make):
    path = make().path
    os.mkfifo(path)
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(
        f"the path of a file is wrong. Received: the named pipe {path}. Expected: a file for "
    )


def test_values_after_damage_are_removed(make):
    sink = make()
    write(sink, ROWS, begins=0)
    data = sink.path.read_bytes()
    sink.path.write_bytes(data.replace(b"2.5", b"\0\0\0"))
    write(sink, [], begins=6)
    assert {step for step, *_ in values_in(sink.path)} == {0, 2}
    assert data.startswith(sink.path.read_bytes())


def test_a_line_without_its_end_is_removed(make):
    # As after a loss of power; the values before the resume are lost with it.
    sink = make()
    write(sink, ROWS[:2], begins=0)
    sink.path.write_bytes(sink.path.read_bytes()[:-1])
    write(sink, ROWS[3:], begins=4)
    values = values_in(sink.path)
    assert values[0] == (0, "loss", 4.0)
    assert values[-6:] == [(step, name, v) for step, row in ROWS[3:] for name, v in row.items()]


def test_lines_wait_until_their_directory_can_be_made(make, tmp_path):
    obstacle = tmp_path / "logs"
    obstacle.write_text("a file")
    sink = make("logs/steps")
    with pytest.raises(FileExistsError):
        sink.begin(0)
    with pytest.raises(FileExistsError):
        sink.write(*ROWS[0])
    obstacle.unlink()
    for row in ROWS[1:]:
        sink.write(*row)
    sink.close()
    assert values_in(sink.path)[0] == (0, "loss", 4.0)
    assert values_in(sink.path)[-1] == (8, "epoch_val_loss", 2.0)


def test_a_new_file_and_its_directory_are_synced_once(make, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    sink = make("logs/steps")
    sink.begin(0)
    for row in ROWS[:2]:
        sink.write(*row)
        sink.flush()
    paths = (sink.path, sink.path.parent, sink.path.parent.parent, sink.path)
    assert synced == [path.stat().st_ino for path in paths]
    sink.close()


@pytest.fixture
def limit_size():
    """Let no file grow beyond a size, as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_loses_no_line(make, limit_size):
    uninterrupted, sink = make("one"), make("two")
    write(uninterrupted, ROWS, begins=0)
    sink.begin(0)
    sink.write(*ROWS[0])
    limit_size(len(sink.path.read_bytes()) + 9)  # The next write stops within a line.
    for row in ROWS[1:4]:
        with pytest.raises(OSError, match="File too large"):
            sink.write(*row)
    with pytest.raises(OSError, match="File too large"):
        sink.flush()
    limit_size(1 << 20)
    sink.flush()
    for row in ROWS[4:]:
        sink.write(*row)
    sink.close()
    assert sink.path.read_bytes() == uninterrupted.path.read_bytes()


def test_values_that_are_not_finite_come_back(make):
    sink = make()
    write(sink, [(0, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1})], begins=0)
    found = {name: value for _, name, value in values_in(sink.path)}
    assert math.isnan(found.pop("a"))
    assert found == {"b": math.inf, "c": -math.inf, "d": 0.1}


def test_a_flush_after_the_end_does_nothing(make):
    sink = make()
    write(sink, ROWS, begins=0)
    data = sink.path.read_bytes()
    sink.flush()
    sink.close()
    assert sink.path.read_bytes() == data


def test_training_may_end_while_a_checkpoint_flushes(make):
    sink = make()
    sink.begin(0)
    sink.write(*ROWS[0])
    file = sink._file  # As another thread reads it.
    sink.close()
    data = sink.path.read_bytes()
    file.sync()
    assert sink.path.read_bytes() == data


def test_a_closed_sink_can_be_pickled(make):
    sink = make()
    write(sink, ROWS[:3], begins=0)
    again = pickle.loads(pickle.dumps(sink))
    write(again, ROWS[3:], begins=4)
    assert len(values_in(sink.path)) == 12


def test_a_file_of_another_program_is_refused_and_unchanged(make):
    path = make().path
    path.write_text("my own notes\n")
    with pytest.raises(UsageError, match="the file is not one that"):
        make()
    assert path.read_text() == "my own notes\n"


def test_a_directory_is_refused(make):
    make().path.mkdir()
    with pytest.raises(UsageError, match="Received: the directory"):
        make()


def test_a_sink_that_is_not_used_leaves_nothing(make, tmp_path):
    make().close()
    assert list(tmp_path.iterdir()) == []
