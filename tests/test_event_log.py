import errno
import os
import time

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from mnist_keras import event_log
from mnist_keras.errors import MnistKerasError
from mnist_keras.event_log import EventLog


def write(logdir, *, step, end, value=0.0, close=True):
    """One session: a point at each step from one to before another."""
    log = EventLog(logdir, step=step)
    for s in range(step, end):
        log.scalar("train", "loss", value + s, s)
    if close:
        log.close()
    return log


def straight(end, value=0.0):
    return {step: value + step for step in range(end)}


def seen(logdir):
    """The steps of the points there, in order, as TensorBoard comes upon them."""
    watching = EventAccumulator(str(logdir / "train"), tensor_size_guidance={"scalars": 0})
    watching.Reload()
    return [event.step for event in watching.Tensors("loss")]


def files(logdir):
    return sorted((logdir / "train").iterdir())


def test_what_is_written_is_seen_at_once_by_any_reader(tmp_path, points_of):
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
def test_after_any_number_of_sessions_each_step_is_there_once(
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


def test_a_session_that_logs_nothing_has_dropped_what_it_would_have_repeated(tmp_path, points_of):
    write(tmp_path, step=0, end=10)
    log = EventLog(tmp_path, step=4)
    log.scalar("validation", "loss", 1.0, 4)
    log.close()
    assert points_of(tmp_path / "train") == {"loss": straight(4)}


def test_a_tensorboard_that_is_watching_drops_them_too(tmp_path):
    write(tmp_path, step=0, end=10)
    watching = EventAccumulator(str(tmp_path / "train"), tensor_size_guidance={"scalars": 0})
    watching.Reload()
    assert len(watching.Tensors("loss")) == 10
    log = EventLog(tmp_path, step=4)  # Before it has a point to write there.
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


def test_the_files_of_others_are_left_as_they_are(tmp_path):
    (tmp_path / "train").mkdir()
    other = EventFileWriter(str(tmp_path / "train"))
    other.add_event(Event(wall_time=1.0, step=2))
    other.close()
    (path,) = files(tmp_path)
    before = path.read_bytes()
    write(tmp_path, step=0, end=3)
    write(tmp_path, step=0, end=3)
    assert path.read_bytes() == before


def test_each_file_opens_with_its_format_and_the_step_of_its_session(tmp_path):
    write(tmp_path, step=7, end=8)
    (path,) = files(tmp_path)
    events = list(EventFileLoader(str(path)).Load())
    summary = [(e.file_version, e.session_log.status, e.step) for e in events]
    assert summary == [("brain.Event:2", 0, 0), ("", 1, 7), ("", 0, 7)]
    write(tmp_path, step=0, end=1)
    assert [e.file_version for e in EventFileLoader(str(path)).Load()] == ["brain.Event:2"]
    assert all(abs(e.wall_time - time.time()) < 3600 for e in events)


def test_flush_brings_the_points_of_all_files_to_the_disk(tmp_path, monkeypatch):
    log = write(tmp_path, step=0, end=3, close=False)
    log.scalar("validation", "loss", 1.0, 3)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    log.flush()
    assert synced == [path.stat().st_ino for path in sorted(tmp_path.glob("*/*"))]
    log.close()


class Parts:
    """A file that takes a few bytes at a time, as long as the disk has room for them."""

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
    """An EventLog on a disk with room for three points and a half; its directory."""
    write(tmp_path / "rehearsal", step=0, end=3)
    Parts.room = files(tmp_path / "rehearsal")[0].stat().st_size + 30
    create = event_log._create
    monkeypatch.setattr(event_log, "_create", lambda path: Parts(create(path)))
    return tmp_path / "log"


def test_points_that_a_full_disk_does_not_take_are_written_once_it_does(small_disk, points_of):
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


def test_a_disk_that_stays_full_is_told_at_last_and_costs_no_point_that_it_took(
    small_disk, points_of, monkeypatch
):
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


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    log = EventLog(tmp_path / "file", step=0)
    log.scalar("train", "loss", 1.0, 0)
    with pytest.raises(MnistKerasError, match="cannot be written: Not a directory"):
        log.close()
