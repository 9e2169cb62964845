"""TensorBoard event files of a run that may be interrupted and resumed any number of times."""

import contextlib
import functools
import os
import pathlib
import socket
import threading
import time

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.util import tensor_util

from mnist_keras.callbacks.tensorboard import earlier_runs
from mnist_keras.callbacks.tensorboard.event_files import (
    EVENT_FILES,
    GRAPH,
    PREFIX,
    SUFFIX,
    events_in,
    files_of_run,
    has_files_of_others,
    is_damaged_from,
    is_subdirectory,
    repair,
    tags_of,
)
from mnist_keras.checkpoint import storage
from mnist_keras.console import terminal
from mnist_keras.data.formats.record_framing import frame
from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.inputs.directory_watch import DirectoryWatch
from mnist_keras.inputs.local_path import local_path

# The mark is stored in a field that TensorBoard does not read.
_OUTLASTS = "outlasts the session"


class EventLog:
    """Writes into ``logdir/SUBDIRECTORY`` for a run that begins or resumes at a step.

    An interrupted session may have written points at this step or later. If the new session repeats
    them, they are cut off the old files. If it does not, they are kept as another run of
    TensorBoard. Each new file starts with a session-start event at that step; a
    running TensorBoard then drops the old points too. It would also drop those of other programs,
    so beside their files there is no such event; files of others are never changed. A damaged file
    is set aside with a line on stderr; the events that can be read in it are kept.

    Two kinds of points may exist at exactly that step. Points of the batch with that number will be
    repeated. Points of the weights after that many updates, as at the end of an epoch, will not.
    The latter are written with ``keep=True`` and are copied into the new file.

    Each point reaches the operating system at once. If the disk is full, the data is held in
    memory; it is written with the next point, at `flush` or at `close`. `flush` may be called from
    another thread.

    Args:
        logdir: the run's directory.
        step: the step at which this session begins.
        only: the only subdirectory to resume; None: all existing ones.
        repeats: whether the session writes the points from ``step`` on again.
        begins_anew: whether the points before ``step`` are of another training; None: if ``step``
            is 0.

    Attributes:
        earlier: where the points of an earlier training were kept, a
            `mnist_keras.callbacks.tensorboard.earlier_runs.EarlierRun`, or None.

    Raises:
        MnistKerasError: the files of earlier sessions cannot be truncated.
    """

    def __init__(self, logdir, *, step, only=None, repeats=True, begins_anew=None):
        self._logdir = pathlib.Path(logdir)
        self._step = step
        self._files = {}
        self._tags = set()
        self._kept = set()
        self._notes = set()
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()
        self._watch = DirectoryWatch(logdir)
        with reported_disk_errors(self._logdir):
            directories = {path.parent for path in files_of_run(self._logdir)}
            has_moved = step == 0 if begins_anew is None else begins_anew
            self.earlier = (
                None
                if repeats
                else earlier_runs.keep(self._logdir, step=step, begins_anew=has_moved)
            )
            for directory in sorted(directories):
                subdirectory = str(directory.relative_to(self._logdir))
                if only is None or subdirectory == only:
                    self._go_on_in(subdirectory)

    def scalar(self, subdirectory, tag, value, step, *, keep=False):
        """Write one point; the arguments are as for `summary`."""
        self.scalars(subdirectory, {tag: value}, step, keep=keep)

    def scalars(self, subdirectory, values, step, *, keep=False):
        """Write a point of each curve, {tag: number}; other arguments as for `summary`."""
        event = Event(wall_time=time.time(), step=step)
        for tag, value in values.items():
            point = event.summary.value.add()
            point.CopyFrom(_point(tag))
            point.tensor.float_val[0] = value
        self._append_summary(subdirectory, event, values, keep=keep)

    def summary(self, subdirectory, summary, step, *, keep=False):
        """Write a summary from one of TensorBoard's builders.

        Args:
            subdirectory: "." for the run's directory itself.
            summary: a ``Summary``, TensorBoard's or TensorFlow's.
            step: the summary's step.
            keep: whether a session that begins at exactly this step keeps the summary.
        """
        event = Event(wall_time=time.time(), step=step)
        event.summary.ParseFromString(summary.SerializeToString())
        self._append_summary(subdirectory, event, tags_of(event), keep=keep)

    def graph(self, subdirectory, graph_def, step):
        """Write a graph, a ``GraphDef``; its tag is `GRAPH`."""
        graph_def = graph_def.SerializeToString(deterministic=True)
        event = Event(wall_time=time.time(), step=step, graph_def=graph_def)
        self._append(subdirectory, event, {GRAPH})

    def has(self, subdirectory, tag):
        """Whether a point with this tag exists, from this session or an earlier one."""
        return (subdirectory, tag) in self._tags

    def note(self, status, step):
        """Note once what TensorFlow's own trainers note in event files; TensorBoard ignores it.

        A training that begins at step 0 after that is another training, not an interrupted one.

        Args:
            status: ``SessionLog.CHECKPOINT``: there is a checkpoint; ``SessionLog.STOP``: the
                training has ended.
            step: the number of updates done.
        """
        with self._lock:
            if status not in self._notes and self._files:
                event = Event(wall_time=time.time(), step=step)
                event.session_log.status = status
                next(iter(self._files.values())).append(event)
                self._notes.add(status)

    def flush(self):
        """Write all points to the disk.

        Raises:
            OSError: they cannot be written to the disk.
            MnistKerasError: the directory was removed or moved.
        """
        with self._sync_lock:
            self._require_directory()
            with self._lock:
                files = list(self._files.values())
                for file in files:
                    file.write()
            for file in files:  # Without the lock, so that appending does not wait for the disk.
                file.sync()

    def close(self, *, may_be_gone=False):
        """Flush and close the files.

        Args:
            may_be_gone: whether the directory may have been removed or moved.

        Raises:
            MnistKerasError: the last points cannot be written to the disk, or the directory was
                removed or moved.
        """
        with (
            self._sync_lock,
            self._lock,
            reported_disk_errors(self._logdir),
            contextlib.ExitStack() as stack,
        ):
            stack.callback(self._watch.close)
            if not may_be_gone:
                stack.callback(self._require_directory)  # After the files: its error is the cause.
            for file in self._files.values():
                stack.callback(file.close)
            self._files = {}

    def _require_directory(self):
        if self._watch.is_gone():
            raise MnistKerasError(
                "the directory was removed or moved while a training wrote into it. "
                f"Received: {self._logdir} is no longer what it was. Expected: it stays until the "
                "training ends; one that was moved can be resumed where it is now."
            )

    def _append_summary(self, subdirectory, event, tags, *, keep):
        if keep:
            for value in event.summary.value:
                value.node_name = _OUTLASTS
            if event.step == self._step:
                self._drop_the_kept(subdirectory, event.summary)
                if not event.summary.value:
                    return
        self._append(subdirectory, event, tags)

    def _append(self, subdirectory, event, tags):
        with self._lock:
            self._tags |= {(subdirectory, tag) for tag in tags}
            self._file(subdirectory).append(event)

    def _drop_the_kept(self, subdirectory, summary):
        new = [value for value in summary.value if (subdirectory, value.tag) not in self._kept]
        del summary.value[:]
        summary.value.extend(new)

    def _go_on_in(self, subdirectory):
        paths = sorted((self._logdir / subdirectory).glob(EVENT_FILES))
        ends, damaged = {}, set()
        for path in paths:
            ends[path], tags, kept, is_damaged = _look_through(path, self._step)
            if is_damaged:
                damaged.add(path)
            self._tags |= {(subdirectory, tag) for tag in tags}
            for event in kept:
                # An event occurs twice if a session was killed before it truncated the old file.
                self._drop_the_kept(subdirectory, event.summary)
                if event.summary.value:
                    tags = tags_of(event)
                    self._kept |= {(subdirectory, tag) for tag in tags}
                    self._append(subdirectory, event, tags)
        self._file(subdirectory)
        for path, end in ends.items():
            if path in damaged:
                aside = repair(path, end=end)
                terminal.notice(
                    f"{path} was damaged. Its readable points are kept; the file is now {aside}."
                )
            else:
                os.truncate(path, end)

    def _file(self, subdirectory):
        if subdirectory not in self._files:
            if not is_subdirectory(subdirectory):
                raise UsageError(
                    f"the subdirectory is wrong. Received: {subdirectory!r}. "
                    'Expected: the name of a directory, or "." for the run\'s directory.'
                )
            directory = self._logdir / subdirectory
            self._require_directory()
            with reported_disk_errors(directory):
                storage.require_targets(directory)
            self._files[subdirectory] = _EventFile(directory, step=self._step)
        return self._files[subdirectory]


@contextlib.contextmanager
def reported_disk_errors(logdir):
    """Within the context, an error of the disk becomes a `MnistKerasError`, one line."""
    try:
        yield
    except OSError as error:
        raise MnistKerasError(
            f"the TensorBoard files cannot be written: {error.strerror}. "
            f"Received: {logdir}. Expected: a directory with space left."
        ) from error


def read_scalars(logdir, subdirectory):
    """The scalars of all sessions, {tag: [(step, value), ...]} in ascending steps."""
    points: dict[str, dict[int, float]] = {}
    for path in sorted((pathlib.Path(local_path(logdir)) / subdirectory).glob(EVENT_FILES)):
        for _, _, event in events_in(path):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == scalar_metadata.PLUGIN_NAME:
                    with contextlib.suppress(TypeError, ValueError):  # Not a scalar's tensor.
                        number = float(tensor_util.make_ndarray(value.tensor))
                        points.setdefault(value.tag, {})[event.step] = number
    return {tag: sorted(values.items()) for tag, values in points.items()}


class _EventFile:
    """One event file; it is created as soon as the disk has space."""

    def __init__(self, directory, *, step):
        self._directory = directory
        self._file = None
        self._held_back = bytearray()
        self._is_synced = self._is_placed = False
        self.append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if not has_files_of_others(directory):
            start = SessionLog(status=SessionLog.START)
            self.append(Event(wall_time=time.time(), step=step, session_log=start))

    def append(self, event):
        self._held_back += frame(event.SerializeToString())
        self._is_synced = False
        with contextlib.suppress(OSError):
            self.write()

    def sync(self):
        """Flush the written data to the disk with fsync."""
        if self._is_synced or self._file is None:
            return
        self._is_synced = True  # Set before fsync: an append during fsync has to reset it.
        try:
            os.fsync(self._file.fileno())
            if not self._is_placed:
                storage.sync_entries(self._directory)
                self._is_placed = True
        except OSError:
            self._is_synced = False
            raise

    def close(self):
        try:
            self.write()
            self.sync()
        finally:
            if self._file is not None:
                self._file.close()

    def write(self):
        """Write all data held in memory."""
        if self._file is None:
            self._file = _create(self._directory)
        while self._held_back:  # An unbuffered write may be partial.
            del self._held_back[: self._file.write(self._held_back)]


@functools.lru_cache(maxsize=1000)
def _point(tag):
    """Cached, because TensorBoard's builder takes twenty times as long as a copy of its result."""
    return scalar_pb(tag, 0.0).value[0]


def _create(directory):
    # TensorBoard reads the files of a directory in the order of their names. So the seconds in the
    # names have to ascend, even when two sessions begin within the same second.
    directory.mkdir(parents=True, exist_ok=True)
    # The "-" puts the file before those that other programs create later in the same second.
    earlier = (path.name.removeprefix(PREFIX) for path in directory.glob(f"{PREFIX}*"))
    later = [int(name[:10]) + 1 for name in earlier if name[:10].isdecimal()]
    seconds = max(int(time.time()), *later, 0)
    name = f"{PREFIX}{seconds:010d}.{socket.gethostname()}-{os.getpid()}{SUFFIX}"
    return open(directory / name, "xb", buffering=0)


def _look_through(path, step):
    """Find where a session that begins at a step cuts a file, and which events it keeps.

    Returns:
        (the offset of the first event at that step or later, or that after the last event; the tags
        before the offset; the events after it that are to be kept; whether something before the
        offset is damaged).
    """
    cut: int | None = None
    end = 0
    tags: set[str] = set()
    kept: list[Event] = []
    is_damaged = False
    for begin, after, event in events_in(path):
        if cut is None:
            is_damaged |= begin != end
        end = after
        if cut is None and event.step >= step and not event.file_version:
            cut = begin
        if cut is None:
            tags |= tags_of(event)
        elif event.step == step > 0 and _outlasts(event):
            kept.append(event)
    if cut is None:
        return end, tags, kept, is_damaged or is_damaged_from(path, end)
    return cut, tags, kept, is_damaged


def _outlasts(event):
    return any(value.node_name == _OUTLASTS for value in event.summary.value)
