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

from mnist_keras.data.formats.record_framing import frame, read_record
from mnist_keras.errors import MnistKerasError

_PREFIX, _SUFFIX = "events.out.tfevents.", ".mnist_keras"
EVENT_FILES = f"{_PREFIX}*{_SUFFIX}"
GRAPH = "graph_def"
# The mark is stored in a field that TensorBoard does not read.
_OUTLASTS = "outlasts the session"


class EventLog:
    """Writes into ``logdir/SUBDIRECTORY`` for a run that begins or resumes at a step.

    An interrupted session may have written points at this step or later. The new session repeats
    them, so they are cut off the old files. Each new file starts with a session-start event at that
    step; a running TensorBoard then drops the old points too.

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

    Raises:
        MnistKerasError: the files of earlier sessions cannot be truncated.
    """

    def __init__(self, logdir, *, step, only=None):
        self._logdir = pathlib.Path(logdir)
        self._step = step
        self._files = {}
        self._tags = set()
        self._kept = set()
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()
        with self._disk_errors():
            for directory in sorted({path.parent for path in _event_files(self._logdir)}):
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
        self._append_summary(subdirectory, event, _tags(event), keep=keep)

    def graph(self, subdirectory, graph_def, step):
        """Write a graph, a ``GraphDef``; its tag is `GRAPH`."""
        graph_def = graph_def.SerializeToString(deterministic=True)
        event = Event(wall_time=time.time(), step=step, graph_def=graph_def)
        self._append(subdirectory, event, {GRAPH})

    def has(self, subdirectory, tag):
        """Whether a point with this tag exists, from this session or an earlier one."""
        return (subdirectory, tag) in self._tags

    def flush(self):
        """Write all points to the disk.

        Raises:
            OSError: they cannot be written to the disk.
        """
        with self._sync_lock:
            with self._lock:
                files = list(self._files.values())
                for file in files:
                    file.write()
            for file in files:  # Without the lock, so that appending does not wait for the disk.
                file.sync()

    def close(self):
        """Flush and close the files.

        Raises:
            MnistKerasError: the last points cannot be written to the disk.
        """
        with self._sync_lock, self._lock, self._disk_errors(), contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
            self._files = {}

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
        ends = {}
        for path in paths:
            ends[path], tags, kept = _look_through(path, self._step)
            self._tags |= {(subdirectory, tag) for tag in tags}
            for event in kept:
                # An event occurs twice if a session was killed before it truncated the old file.
                self._drop_the_kept(subdirectory, event.summary)
                if event.summary.value:
                    tags = _tags(event)
                    self._kept |= {(subdirectory, tag) for tag in tags}
                    self._append(subdirectory, event, tags)
        self._file(subdirectory)
        for path, end in ends.items():
            os.truncate(path, end)

    def _file(self, subdirectory):
        if subdirectory not in self._files:
            self._files[subdirectory] = _EventFile(self._logdir / subdirectory, step=self._step)
        return self._files[subdirectory]

    @contextlib.contextmanager
    def _disk_errors(self):
        try:
            yield
        except OSError as error:
            raise MnistKerasError(
                f"the TensorBoard files cannot be written: {error.strerror}. "
                f"Received: {self._logdir}. Expected: a directory with space left."
            ) from error


def read_scalars(logdir, subdirectory):
    """The scalars of all sessions, {tag: [(step, value), ...]} in ascending steps."""
    points: dict[str, dict[int, float]] = {}
    for path in sorted((pathlib.Path(logdir) / subdirectory).glob(EVENT_FILES)):
        with open(path, "rb") as file:
            while (event := _read(file)) is not None:
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == scalar_metadata.PLUGIN_NAME:
                        number = float(tensor_util.make_ndarray(value.tensor))
                        points.setdefault(value.tag, {})[event.step] = number
    return {tag: sorted(values.items()) for tag, values in points.items()}


class _EventFile:
    """One event file; it is created as soon as the disk has space."""

    def __init__(self, directory, *, step):
        self._directory = directory
        self._file = None
        self._held_back = bytearray()
        self._is_synced = False
        self.append(Event(wall_time=time.time(), file_version="brain.Event:2"))
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
    earlier = (path.name.removeprefix(_PREFIX) for path in directory.glob(f"{_PREFIX}*"))
    later = [int(name[:10]) + 1 for name in earlier if name[:10].isdecimal()]
    seconds = max(int(time.time()), *later, 0)
    name = f"{_PREFIX}{seconds:010d}.{socket.gethostname()}.{os.getpid()}{_SUFFIX}"
    return open(directory / name, "xb", buffering=0)


def _event_files(logdir):
    return [*logdir.glob(EVENT_FILES), *logdir.glob(f"*/{EVENT_FILES}")]


def _tags(event):
    if event.HasField("graph_def"):
        return {GRAPH}
    return {value.tag for value in event.summary.value}


def _look_through(path, step):
    """Find where a session that begins at a step cuts a file, and which events it keeps.

    Returns:
        (the offset of the first event at that step or later, or of the first damaged byte;
        the tags before the offset; the events after it that are to be kept).
    """
    end: int | None = None
    tags: set[str] = set()
    kept: list[Event] = []
    with open(path, "rb") as file:
        while True:
            begin = file.tell()
            event = _read(file)
            if event is None:
                return begin if end is None else end, tags, kept
            if end is None and event.step >= step and not event.file_version:
                end = begin
            if end is None:
                tags |= _tags(event)
            elif event.step == step > 0 and _outlasts(event):
                kept.append(event)


def _outlasts(event):
    return any(value.node_name == _OUTLASTS for value in event.summary.value)


def _read(file):
    """The next event; None at the end of the file or at a truncated or damaged record."""
    data = read_record(file)
    return None if data is None else Event.FromString(data)
