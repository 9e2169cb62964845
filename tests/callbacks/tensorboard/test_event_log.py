import errno
import os
import shutil
import socket
import stat
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.pr_curve import summary as pr_curve
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from mnist_keras.callbacks.tensorboard import event_files, event_log
from mnist_keras.callbacks.tensorboard.event_log import GRAPH, EventLog, read_scalars
from mnist_keras.checkpoint import storage
from mnist_keras.data.formats import record_framing
from mnist_keras.data.formats.record_framing import frame
from mnist_keras.errors import MnistKerasError


def write(logdir, *, step, end, value=0.0, close=True):
    """One session: a point at each step from ``step`` to before ``end``."""
    log = EventLog(logdir, step=step)
    for s in range(step, end):
        log.scalar("train", "loss", value + s, s)
    if close:
        log.close()
    return log


def straight(end, value=0.0):
    return {step: value + step for step in range(end)}


def seen(logdir):
    """The steps of the points, in the order in which TensorBoard reads them."""
    watching = EventAccumulator(str(logdir / "train"), tensor_size_guidance={"scalars": 0})
    watching.Reload()
    return [event.step for event in watching.Tensors("loss")]


def files(logdir):
    return sorted((logdir / "train").iterdir())


def test_readers_see_written_points_at_once(tmp_path, points_of):
    log = EventLog(tmp_path, step=0)
    log.scalar("train", "loss", 0.5, 0)
    log.scalar("train", "learning_rate", 1, 0)
    log.scalar("validation", "epoch_loss", 0.25, 300)
    log.scalar("train", "loss", float("nan"), 100)
    assert str(points_of(tmp_path / "train")) == str(
        {"loss": {0: 0.5, 100: float("nan")}, "learning_rate": {0: 1.0}}
    )
    assert points_of(tmp_path / "validation") == {"epoch_loss": {300: 0.25}}
    log.close()
    log.close()


@pytest.mark.parametrize("clock", ["standing still", "going", "set back"])
def test_each_step_appears_once_after_any_number_of_sessions(
    clock, tmp_path, points_of, monkeypatch
):
    times = {"standing still": [1e9] * 12, "going": range(12), "set back": range(12, 0, -1)}[clock]
    for session, now in enumerate(times):
        monkeypatch.setattr(time, "time", lambda now=now: float(now))
        write(tmp_path, step=3 * session, end=3 * session + 5, close=session % 2 == 0)
    assert points_of(tmp_path / "train") == {"loss": straight(3 * 11 + 5)}


@pytest.mark.parametrize("step", [0, 1, 4, 5, 9, 10, 11])
def test_a_session_replaces_the_points_from_its_first_step_on(step, tmp_path, points_of):
    write(tmp_path, step=0, end=5)
    write(tmp_path, step=5, end=10)
    write(tmp_path, step=step, end=12, value=100)
    expected = {**straight(min(step, 10)), **{s: 100.0 + s for s in range(step, 12)}}
    assert points_of(tmp_path / "train") == {"loss": expected}


def test_a_session_drops_later_points_even_if_it_logs_nothing(tmp_path, points_of):
    write(tmp_path, step=0, end=10)
    log = EventLog(tmp_path, step=4)
    log.scalar("validation", "loss", 1.0, 4)
    log.close()
    assert points_of(tmp_path / "train") == {"loss": straight(4)}


def test_an_open_tensorboard_drops_them_too(tmp_path):
    write(tmp_path, step=0, end=10)
    watching = EventAccumulator(str(tmp_path / "train"), tensor_size_guidance={"scalars": 0})
    watching.Reload()
    assert len(watching.Tensors("loss")) == 10
    log = EventLog(tmp_path, step=4)  # Before it has a point to write.
    watching.Reload()
    assert [event.step for event in watching.Tensors("loss")] == [0, 1, 2, 3]
    log.scalar("train", "loss", 4.0, 4)
    log.close()
    watching.Reload()
    assert [event.step for event in watching.Tensors("loss")] == [0, 1, 2, 3, 4]


def test_a_file_torn_at_any_byte_hides_no_later_session(tmp_path):
    write(tmp_path, step=0, end=3)
    (first,) = files(tmp_path)
    whole = first.read_bytes()
    for length in range(len(whole) + 1):
        for path in files(tmp_path):
            path.unlink()
        first.write_bytes(whole[:length])
        write(tmp_path, step=3, end=5)
        assert seen(tmp_path)[-2:] == [3, 4], length
    assert seen(tmp_path) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_flipped_byte_hides_no_later_session(tmp_path):
    write(tmp_path, step=0, end=3)
    (first,) = files(tmp_path)
    whole = bytearray(first.read_bytes())
    for offset in range(len(whole)):
        for path in files(tmp_path):
            path.unlink()
        whole[offset] ^= 0xFF
        first.write_bytes(whole)
        whole[offset] ^= 0xFF
        write(tmp_path, step=3, end=5)
        assert seen(tmp_path)[-2:] == [3, 4], offset


# name: what becomes of the bytes of a record
RECORD_DAMAGE = {
    "a flipped byte": lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    "a flipped length": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "wrong content": lambda data: frame(b"\xff" * 9),
    "a length of 2**60": lambda data: head(2**60) + data[12:],
    "zeros": lambda data: bytes(len(data)),
}


def head(length):
    length = length.to_bytes(8, "little")
    return length + record_framing.checksum(length)


def test_a_damaged_file_of_any_size_is_set_aside(tmp_path, points_of, monkeypatch):
    monkeypatch.setattr(shutil, "copyfile", pytest.fail)  # 50 GiB would fill the disk.
    write(tmp_path, step=0, end=3)
    [path] = files(tmp_path)
    os.truncate(path, 50 << 30)
    write(tmp_path, step=3, end=5)
    assert points_of(tmp_path / "train") == {"loss": straight(5)}
    [aside] = (tmp_path / "train").glob("damaged.events.*")
    assert aside.stat().st_size == 50 << 30


def test_a_damaged_file_is_copied_where_there_are_no_links(tmp_path, points_of, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *paths: fail_with(errno.EPERM))
    write(tmp_path, step=0, end=3)
    [path] = files(tmp_path)
    os.truncate(path, path.stat().st_size + 1000)
    damaged = path.read_bytes()
    write(tmp_path, step=3, end=5)
    assert points_of(tmp_path / "train") == {"loss": straight(5)}
    [aside] = (tmp_path / "train").glob("damaged.events.*")
    assert aside.read_bytes() == damaged


def fail_with(code):
    raise OSError(code, os.strerror(code))


def test_a_repair_after_a_killed_one_leaves_no_file_behind(tmp_path, points_of, monkeypatch):
    write(tmp_path, step=0, end=3)
    [path] = files(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(40))

    def kill(path, data):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_file", kill)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, step=3, end=5)
    write(tmp_path, step=3, end=5)
    assert points_of(tmp_path / "train") == {"loss": straight(5)}
    assert list((tmp_path / "train").glob(".unfinished-*")) == []


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("kind", RECORD_DAMAGE)
def test_a_damaged_record_loses_only_its_own_point(kind, at, tmp_path, capsys):
    write(tmp_path, step=0, end=5)
    (path,) = files(tmp_path)
    (begin, end), *_ = [
        (begin, end)
        for begin, end, event in event_files.events_in(path)
        if event.step == at and event.summary.value
    ]
    whole = path.read_bytes()
    damaged = whole[:begin] + RECORD_DAMAGE[kind](whole[begin:end]) + whole[end:]
    path.write_bytes(damaged)
    aside = path.with_name(path.name.replace("events.out.tfevents", "damaged.events"))
    for session in range(2):
        write(tmp_path, step=5, end=7)
        assert seen(tmp_path) == [step for step in range(7) if step != at]
        assert capsys.readouterr().err == (
            ""
            if session
            else f"{path} was damaged. Its readable points are kept; the file is now {aside}.\n"
        )
        assert aside.read_bytes() == damaged


def test_damage_after_a_sessions_first_step_is_cut_off(tmp_path, points_of, capsys):
    write(tmp_path, step=0, end=5)
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    write(tmp_path, step=2, end=7)
    assert points_of(tmp_path / "train") == {"loss": straight(7)}
    assert capsys.readouterr().err == ""
    assert len(files(tmp_path)) == 2


def test_a_value_that_is_not_a_number_is_left_out(tmp_path):
    log = write(tmp_path, step=0, end=2, close=False)
    event = Event(step=1)
    value = event.summary.value.add(tag="loss")
    value.metadata.plugin_data.plugin_name = "scalars"
    value.tensor.string_val.append(b"text")
    log.summary("train", event.summary, 1)
    log.close()
    assert read_scalars(tmp_path, "train") == {"loss": [(0, 0.0), (1, 1.0)]}


def test_other_programs_files_stay_unchanged(tmp_path):
    (tmp_path / "train").mkdir()
    other = EventFileWriter(str(tmp_path / "train"))
    other.add_event(Event(wall_time=1.0, step=2))
    other.close()
    (path,) = files(tmp_path)
    before = path.read_bytes()
    write(tmp_path, step=0, end=3)
    write(tmp_path, step=0, end=3)
    assert path.read_bytes() == before


def keep(log, step, value, tag="epoch_loss"):
    log.scalar("train", tag, value, step, keep=True)


@pytest.fixture
def ended_epoch(tmp_path):
    """An epoch of 3 steps, kept points after it, and 2 steps of the next epoch."""
    log = write(tmp_path, step=0, end=3, close=False)
    keep(log, 3, 0.5)
    log.scalar("train", "last", 1.0, 3)
    log.scalar("validation", "epoch_loss", 0.25, 3, keep=True)
    for step in (3, 4):
        log.scalar("train", "loss", step, step)
    return log


def test_kept_points_survive_a_session_starting_at_their_step(ended_epoch, tmp_path, points_of):
    for value in (10, 20):
        log = EventLog(tmp_path, step=3)
        log.scalar("train", "loss", value, 3)
        expected = {"loss": {**straight(3), 3: value}, "epoch_loss": {3: 0.5}}
        assert points_of(tmp_path / "train") == expected
        assert points_of(tmp_path / "validation") == {"epoch_loss": {3: 0.25}}


def test_kept_points_are_not_written_again(ended_epoch, tmp_path, points_of):
    log = EventLog(tmp_path, step=3)
    keep(log, 3, 7.0)
    keep(log, 3, 8.0, tag="epoch_accuracy")
    keep(log, 6, 9.0)
    expected = {"loss": straight(3), "epoch_loss": {3: 0.5, 6: 9.0}, "epoch_accuracy": {3: 8.0}}
    assert points_of(tmp_path / "train") == expected


@pytest.mark.parametrize("step", [0, 1, 2])
def test_kept_points_are_dropped_by_an_earlier_session(step, ended_epoch, tmp_path, points_of):
    log = EventLog(tmp_path, step=step)
    log.scalar("train", "loss", 5.0, step)
    assert points_of(tmp_path / "train") == {"loss": {**straight(step), step: 5.0}}


def test_a_run_restarted_at_step_0_drops_kept_points(tmp_path, points_of):
    keep(EventLog(tmp_path, step=0), 0, 0.5)
    keep(EventLog(tmp_path, step=0), 0, 0.25)
    assert points_of(tmp_path / "train") == {"epoch_loss": {0: 0.25}}


def test_an_open_tensorboard_shows_kept_points_once(ended_epoch, tmp_path):
    watching = EventAccumulator(str(tmp_path / "train"), tensor_size_guidance={"scalars": 0})
    watching.Reload()
    assert [event.step for event in watching.Tensors("epoch_loss")] == [3]
    for _ in range(3):
        EventLog(tmp_path, step=3)
        watching.Reload()
        assert [event.step for event in watching.Tensors("epoch_loss")] == [3]
        assert [event.step for event in watching.Tensors("loss")] == [0, 1, 2]


def test_a_session_killed_before_truncating_files_loses_nothing(
    ended_epoch, tmp_path, points_of, monkeypatch
):
    def kill(path, length):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", kill)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                EventLog(tmp_path, step=3)
    EventLog(tmp_path, step=3)
    assert points_of(tmp_path / "train") == {"loss": straight(3), "epoch_loss": {3: 0.5}}
    assert points_of(tmp_path / "validation") == {"epoch_loss": {3: 0.25}}


def test_summaries_and_graphs_are_read_back_with_their_metadata(tmp_path, summaries_of):
    log = EventLog(tmp_path, step=0)
    log.summary(".", text_pb("recipe", "epochs"), 0)
    log.summary(".", histogram_pb("weights", np.arange(4.0), buckets=2), 7, keep=True)
    log.summary(".", pr_curve.pb("curve", np.array([True]), np.array([0.5])), 7)
    log.summary("train", hparams_pb({"rate": 0.5}), 0)
    log.graph("train", tf.Graph().as_graph_def(), 3)
    written = summaries_of(tmp_path)
    assert {tag: {s: plugin for s, (plugin, _) in w.items()} for tag, w in written.items()} == {
        "recipe": {0: "text"},
        "weights": {7: "histograms"},
        "curve/pr_curves": {7: "pr_curves"},
    }
    assert written["recipe"][0][1].item() == b"epochs"
    np.testing.assert_array_equal(written["weights"][7][1], [[0, 1.5, 2], [1.5, 3, 2]])
    accumulator = EventAccumulator(str(tmp_path / "train"))
    accumulator.Reload()
    assert accumulator.Tags() == {
        "graph": True,
        "meta_graph": False,
        "run_metadata": [],
        "tensors": ["_hparams_/session_start_info", "__run_graph__"],
    }


def test_it_knows_the_tags_of_this_and_earlier_sessions(tmp_path):
    def known(log):
        tags = ("loss", "epoch_loss", "later", GRAPH)
        return {tag for tag in tags if log.has("train", tag)}

    log = EventLog(tmp_path, step=0)
    assert known(log) == set()
    log.scalar("train", "loss", 0.0, 0)
    log.graph("train", tf.Graph().as_graph_def(), 0)
    assert known(log) == {"loss", GRAPH}
    keep(log, 3, 0.5)
    log.scalar("train", "later", 0.0, 3)
    assert known(log) == {"loss", GRAPH, "epoch_loss", "later"}
    assert known(EventLog(tmp_path, step=3)) == {"loss", GRAPH, "epoch_loss"}
    assert known(EventLog(tmp_path, step=1)) == {"loss", GRAPH}
    assert known(EventLog(tmp_path, step=0)) == set()
    assert not log.has(".", "loss")


def test_files_in_the_run_directory_are_truncated_too(tmp_path, points_of):
    log = EventLog(tmp_path, step=0)
    for step in range(5):
        log.scalar(".", "loss", step, step)
    EventLog(tmp_path, step=3)
    assert points_of(tmp_path) == {"loss": straight(3)}


def test_a_log_can_be_limited_to_one_subdirectory(tmp_path, points_of):
    write(tmp_path, step=0, end=5)
    before = files(tmp_path)
    log = EventLog(tmp_path, step=3, only=".")
    log.scalar(".", "test_loss", 1.0, 3)
    log.close()
    assert files(tmp_path) == before
    assert points_of(tmp_path / "train") == {"loss": straight(5)}
    assert points_of(tmp_path) == {"test_loss": {3: 1.0}}


def test_each_file_starts_with_its_format_and_session_step(tmp_path):
    write(tmp_path, step=7, end=8)
    (path,) = files(tmp_path)
    events = list(EventFileLoader(str(path)).Load())
    summary = [(e.file_version, e.session_log.status, e.step) for e in events]
    assert summary == [("brain.Event:2", 0, 0), ("", 1, 7), ("", 0, 7)]
    write(tmp_path, step=0, end=1)
    assert [e.file_version for e in EventFileLoader(str(path)).Load()] == ["brain.Event:2"]
    assert all(abs(e.wall_time - time.time()) < 3600 for e in events)


def test_beside_another_programs_file_no_session_start_is_written(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "events.out.tfevents.1700000000.host.7.0.v2").touch()
    write(tmp_path, step=7, end=8)
    events = list(EventFileLoader(str(files(tmp_path)[-1])).Load())
    assert [(e.file_version, e.step) for e in events] == [("brain.Event:2", 0), ("", 7)]


def test_a_file_comes_before_those_created_later_that_second(tmp_path):
    write(tmp_path, step=0, end=1)
    (path,) = files(tmp_path)
    seconds, host = path.name.split(".")[3], socket.gethostname()
    assert path.name < f"events.out.tfevents.{seconds}.{host}.{os.getpid()}.0.v2"


def test_flush_syncs_the_points_of_all_files(tmp_path, monkeypatch):
    log = write(tmp_path, step=0, end=3, close=False)
    log.scalar("validation", "loss", 1.0, 3)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(storage, "sync_entries", lambda directory: None)
    log.flush()
    assert synced == [path.stat().st_ino for path in sorted(tmp_path.glob("*/*"))]
    log.flush()
    assert len(synced) == 2, "what has been synced is synced once"
    log.scalar("validation", "loss", 2.0, 4)
    log.flush()
    assert synced[2:] == [synced[1]]
    log.close()


class Parts:
    """A file that accepts a few bytes at a time while the disk has space."""

    room = 0

    def __init__(self, file):
        self._file = file

    def write(self, data):
        part = bytes(data[: min(7, Parts.room)])
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Parts.room -= len(part)
        return self._file.write(part)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """(EventLog, its directory) on a disk with space for three and a half points."""
    write(tmp_path / "rehearsal", step=0, end=3)
    Parts.room = files(tmp_path / "rehearsal")[0].stat().st_size + 30
    create = event_log._create
    monkeypatch.setattr(event_log, "_create", lambda path: Parts(create(path)))
    return tmp_path / "log"


def test_points_refused_by_a_full_disk_are_written_later(small_disk, points_of):
    log = EventLog(small_disk, step=0)
    for step, value in straight(6).items():
        log.scalar("train", "loss", value, step)
    with pytest.raises(OSError, match="No space left on device"):
        log.flush()
    assert points_of(small_disk / "train") == {"loss": straight(3)}
    Parts.room = 10**6
    log.flush()
    assert points_of(small_disk / "train") == {"loss": straight(6)}
    log.close()


def test_a_full_disk_is_reported_and_keeps_written_points(small_disk, points_of, monkeypatch):
    log = EventLog(small_disk, step=0)
    for step, value in straight(6).items():
        log.scalar("train", "loss", value, step)
    with pytest.raises(MnistKerasError) as error:
        log.close()
    assert str(error.value) == (
        "the TensorBoard files cannot be written: No space left on device. "
        f"Received: {small_disk}. Expected: a directory with space left."
    )
    monkeypatch.undo()
    write(small_disk, step=3, end=6)
    assert points_of(small_disk / "train") == {"loss": straight(6)}


def test_logging_does_not_wait_for_a_slow_disk(tmp_path, points_of, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()
    synced = []

    def slow(number, fsync=os.fsync):
        if stat.S_ISREG(os.fstat(number).st_mode):
            synced.append(number)
        begun.set()
        assert may_end.wait(60)
        fsync(number)

    monkeypatch.setattr(os, "fsync", slow)
    log = EventLog(tmp_path, step=0)
    log.scalar("train", "loss", 0.0, 0)
    flushing = threading.Thread(target=log.flush)
    flushing.start()
    assert begun.wait(60)
    log.scalar("train", "loss", 1.0, 1)
    assert points_of(tmp_path / "train") == {"loss": straight(2)}
    may_end.set()
    flushing.join()
    log.close()
    assert len(synced) == 2  # The second point was not on the disk yet.


def test_a_new_event_file_and_its_directory_are_synced_once(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    log = EventLog(tmp_path, step=0)
    for step in range(2):
        log.scalar("train", "loss", 1.0, step)
        log.flush()
    log.close()
    [file] = (tmp_path / "train").iterdir()
    inodes = [path.stat().st_ino for path in (file, tmp_path / "train", tmp_path, file)]
    assert synced == inodes


def test_of_an_event_only_missing_values_are_added(tmp_path, points_of):
    log = EventLog(tmp_path, step=0)
    log.scalar("train", "loss", 0.5, 3, keep=True)
    log.close()
    log = EventLog(tmp_path, step=3)
    log.scalars("train", {"loss": 0.75, "accuracy": 1.0}, 3, keep=True)
    log.close()
    assert points_of(tmp_path / "train") == {"loss": {3: 0.5}, "accuracy": {3: 1.0}}


def test_a_directory_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").touch()
    log = EventLog(tmp_path / "file", step=0)
    log.scalar("train", "loss", 1.0, 0)
    with pytest.raises(MnistKerasError, match="cannot be written: Not a directory"):
        log.close()


def test_the_scalars_of_all_sessions_are_read_back(tmp_path):
    for first in (0, 2):
        log = EventLog(tmp_path, step=first)
        for step in range(first, 4):
            log.scalar("train", "loss", step + first / 10, step)
        log.close()
    assert read_scalars(tmp_path, "train") == {
        "loss": [(0, 0.0), (1, 1.0), (2, pytest.approx(2.2)), (3, pytest.approx(3.2))]
    }
    assert read_scalars(tmp_path, "validation") == {}
