import math
import shutil
import threading

import pytest

from mnist_keras.callbacks.sinks import tracker
from mnist_keras.callbacks.sinks.json_lines import read_rows
from mnist_keras.callbacks.sinks.tracker import TrackerSink
from mnist_keras.errors import UsageError
from tests.callbacks.sinks.sessions import write

ROWS = [
    (0, {"loss": 4.0, "examples_per_second": 70.0}),
    (2, {"loss": math.nan}),
    (4, {"epoch_loss": 2.5}),
    (4, {"loss": 1.5}),
    (6, {"loss": 1.25}),
]
LONG_S = 60


class Store:
    """An experiment tracker in memory: {run: [(step, name, value)]}."""

    def __init__(self):
        self.runs = {}
        self.ended = []
        self.error = None
        self.failures = 0
        self.answers = threading.Event()
        self.answers.set()
        self.changed = threading.Condition()

    def add(self, run, points):
        with self.changed:
            self.runs[run] += points
            self.changed.notify_all()

    def fail(self):
        """Raise the error, if there is one."""
        if self.error is not None:
            with self.changed:
                self.failures += 1
                self.changed.notify_all()
            raise self.error

    def wait_for_failures(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: self.failures >= count, LONG_S)

    def wait_for(self, count):
        """Wait until the first run has so many points."""
        with self.changed:
            is_there = self.changed.wait_for(lambda: len(self.runs.get("0", ())) >= count, LONG_S)
        assert is_there


class StoreSink(TrackerSink):
    package = "json"
    retry_s = 0.01
    patience_s = LONG_S

    def __init__(self, directory, store):
        super().__init__(directory)
        self.store = store

    def open_run(self, run, *, created):
        self.store.answers.wait()
        self.store.fail()
        if run is None:
            run = str(len(self.store.runs))
            self.store.runs[run] = []
            created(run)
        self.run = run
        return {name: step for step, name, _ in self.store.runs[run]}

    def send(self, rows):
        self.store.fail()
        points = [(step, name, v) for step, values in rows for name, v in values.items()]
        self.store.add(self.run, points)

    def end_run(self):
        self.store.ended.append(self.run)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def sink(tmp_path, store):
    return StoreSink(tmp_path / "run", store)


@pytest.fixture
def killed(tmp_path, store):
    """Write some rows into a run, as a session that is killed then; its object is left as it is."""
    left = []

    def write(rows, *, begins=0):
        left.append(sink := StoreSink(tmp_path / "run", store))
        sink.begin(begins)
        for row in rows:
            sink.write(*row)
        sink.flush()

    return write


def points(rows):
    """[(step, name, text)]; texts because NaN is not equal to itself."""
    return [(step, name, repr(v)) for step, values in rows for name, v in values.items()]


def points_in(store, run="0"):
    return [(step, name, repr(value)) for step, name, value in store.runs[run]]


def test_a_run_gets_each_value_and_is_ended(sink, store):
    write(sink, ROWS, begins=0)
    assert points_in(store) == points(ROWS)
    assert store.ended == ["0"]


def test_a_killed_run_continues_with_each_step_once(sink, store, killed):
    killed(ROWS)
    store.wait_for(6)
    write(sink, [*ROWS[1:], (8, {"loss": 1.0})], begins=2)
    assert points_in(store) == points([*ROWS, (8, {"loss": 1.0})])


def test_a_resume_at_the_end_of_an_epoch_repeats_nothing(sink, store, killed):
    killed(ROWS[:3])
    store.wait_for(4)
    write(sink, ROWS[3:], begins=4)
    assert points_in(store) == points(ROWS)


def test_values_that_the_tracker_lost_are_sent_again(sink, store, killed):
    killed(ROWS[:4])
    store.wait_for(5)
    del store.runs["0"][2:]  # As a tracker does that buffers, when it is killed too.
    write(sink, ROWS[4:], begins=6)
    assert points_in(store) == points(ROWS)


def test_a_run_killed_before_its_first_checkpoint_continues(sink, store, killed):
    killed(ROWS[:4])
    store.wait_for(5)
    # The speed is never the same twice.
    write(sink, [(0, {"loss": 4.0, "examples_per_second": 55.0}), *ROWS[1:]], begins=0)
    assert store.runs.keys() == {"0"}
    assert points_in(store) == points(ROWS)


def test_a_killed_run_that_starts_with_other_values_is_new(sink, store, killed):
    killed(ROWS[:4])
    store.wait_for(5)
    write(sink, [(0, {"loss": 3.0})], begins=0)
    assert points_in(store, "1") == points([(0, {"loss": 3.0})])
    assert points_in(store) == points(ROWS[:4])


def test_a_run_that_starts_anew_after_its_end_is_new(sink, store):
    write(sink, ROWS, begins=0)
    write(sink, ROWS, begins=0)
    assert points_in(store, "1") == points_in(store, "0") == points(ROWS)


def test_a_run_that_has_ended_is_continued_by_more_epochs(sink, store):
    write(sink, ROWS[:3], begins=0)
    write(sink, ROWS[3:], begins=4)
    assert points_in(store) == points(ROWS)


@pytest.mark.parametrize(("stays", "runs"), [(True, ["0", "1"]), (False, ["0"])])
def test_only_a_copy_of_a_directory_has_another_run(stays, runs, sink, store, tmp_path):
    write(sink, ROWS[:3], begins=0)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    if not stays:
        shutil.rmtree(tmp_path / "run")
    for _ in range(2):
        write(StoreSink(tmp_path / "copy", store), ROWS[3:], begins=4)
    assert list(store.runs) == runs
    assert points_in(store, runs[-1]) == points(ROWS)
    if stays:
        assert points_in(store) == points(ROWS[:3])


def test_a_copy_whose_original_cannot_be_read_keeps_its_run(sink, store, tmp_path, monkeypatch):
    write(sink, ROWS[:3], begins=0)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    read = tracker.read_regular

    def refused(path):
        if path.parent == tmp_path / "run":
            raise PermissionError
        return read(path)

    monkeypatch.setattr(tracker, "read_regular", refused)
    write(StoreSink(tmp_path / "copy", store), ROWS[3:], begins=4)
    assert points_in(store) == points(ROWS)


def test_a_directory_with_two_paths_has_one_run(sink, store, tmp_path):
    write(sink, ROWS[:3], begins=0)
    (tmp_path / "run").rename(tmp_path / "disk")
    (tmp_path / "run").symlink_to(tmp_path / "disk")  # As a mount: the stated path is there too.
    write(StoreSink(tmp_path / "disk", store), ROWS[3:], begins=4)
    assert points_in(store) == points(ROWS)


@pytest.mark.parametrize("text", ["[" * 100_000, '"0"', "{"])
def test_a_damaged_identity_begins_a_new_run(text, sink, store, tmp_path):
    write(sink, ROWS, begins=0)
    (tmp_path / "run" / "run.json").write_text(text)
    write(sink, ROWS[1:], begins=2)
    assert list(store.runs) == ["0", "1"]


def test_a_tracker_that_fails_gets_the_values_later(sink, store, capsys):
    store.error = ConnectionError("no route\nto host")
    sink.begin(0)
    sink.write(*ROWS[0])
    store.wait_for_failures(2)  # Before the second one, the first one was told.
    for row in ROWS[1:]:
        sink.write(*row)
    store.error = None
    store.wait_for(6)
    sink.close()
    assert points_in(store) == points(ROWS)
    assert capsys.readouterr().err == (
        "StoreSink does not reach its tracker, and tries again later; the training continues. "
        "Received: no route to host. Expected: a tracker that answers.\n"
    )


def test_what_a_session_could_not_send_the_next_one_sends(sink, store, capsys):
    store.error = ConnectionError("no route to host")
    write(sink, ROWS[:3], begins=0)
    told = f"steps that the tracker's run does not have: 3. They are in {sink.journal}, and"
    assert told in capsys.readouterr().err
    store.error = None
    write(sink, ROWS[3:], begins=4)
    assert points_in(store) == points(ROWS)


def test_a_tracker_that_never_answers_does_not_stop_training(sink, store, capsys):
    sink.patience_s = 0.01
    store.answers.clear()
    write(sink, ROWS, begins=0)
    assert "steps that the tracker's run does not have: 5." in capsys.readouterr().err
    assert [step for step, _ in read_rows(sink.journal)] == [0, 2, 4, 4, 6]
    store.answers.set()


def test_a_package_that_is_not_installed_is_named(tmp_path, store):
    class Missing(StoreSink):
        package = "no_such_tracker"

    with pytest.raises(UsageError) as error:
        Missing(tmp_path, store)
    assert str(error.value) == (
        "Missing needs a package. Received: no no_such_tracker. "
        "Expected: pip install 'mnist_keras[no_such_tracker]'."
    )


def test_a_file_in_place_of_the_directory_is_refused(tmp_path, store):
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="the path of a directory is wrong"):
        StoreSink(tmp_path / "run", store)
