"""TensorBoard event files of a run that may be interrupted and resumed any number of times."""

import contextlib
import io
import os
import pathlib
import socket
import struct
import threading
import time

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from mnist_keras.errors import MnistKerasError

_PREFIX, _SUFFIX = "events.out.tfevents.", ".mnist_keras"


class EventLog:
    """Writes scalars into ``logdir/SUBDIRECTORY`` for a run that begins or resumes at a step.

    The points from there on that an interrupted session of an EventLog had written are about to be
    repeated: they are cut off its files, and each new file opens with a session-start event at
    that step, on which a TensorBoard that is watching drops them.

    What is written reaches the operating system at once. What a full disk does not take is held
    back and tried again with the next point, at `flush` and at last at `close`. `flush` may be
    called from another thread.

    Args:
        logdir: the run's directory.
        step: where this session begins.

    Raises:
        MnistKerasError: the files of the earlier sessions cannot be cut.
    """

    def __init__(self, logdir, *, step):
        self._logdir = pathlib.Path(logdir)
        self._step = step
        self._files = {}
        self._lock = threading.Lock()
        with self._disk_errors():
            for path in sorted(self._logdir.glob(f"*/{_PREFIX}*{_SUFFIX}")):
                _cut(path, step)
                self._file(path.parent.name)

    def scalar(self, subdirectory, tag, value, step):
        """Write one point."""
        event = Event(wall_time=time.time(), step=step)
        event.summary.ParseFromString(scalar_pb(tag, float(value)).SerializeToString())
        with self._lock:
            self._file(subdirectory).append(event)

    def flush(self):
        """Bring all points to the disk.

        Raises:
            OSError: the disk does not take them.
        """
        with self._lock:
            for file in self._files.values():
                file.sync()

    def close(self):
        """Flush and close the files.

        Raises:
            MnistKerasError: the disk does not take the last points.
        """
        with self._lock, self._disk_errors(), contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
            self._files = {}

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


class _EventFile:
    """One event file, made as soon as the disk allows it."""

    def __init__(self, directory, *, step):
        self._directory = directory
        self._file = None
        self._held_back = bytearray()
        self.append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self.append(Event(wall_time=time.time(), step=step, session_log=start))

    def append(self, event):
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._held_back += record.getbuffer()
        with contextlib.suppress(OSError):
            self._write()

    def sync(self):
        self._write()
        os.fsync(self._file.fileno())

    def close(self):
        try:
            self.sync()
        finally:
            if self._file is not None:
                self._file.close()

    def _write(self):
        if self._file is None:
            self._file = _create(self._directory)
        while self._held_back:  # An unbuffered file may take a part, and fail at the next.
            del self._held_back[: self._file.write(self._held_back)]


def _create(directory):
    # TensorBoard reads the files of a directory in the order of their names, so the seconds in
    # them have to ascend, also where two sessions begin within one.
    directory.mkdir(parents=True, exist_ok=True)
    earlier = (path.name.removeprefix(_PREFIX) for path in directory.glob(f"{_PREFIX}*"))
    seconds = [int(name[:10]) + 1 for name in earlier if name[:10].isdecimal()]
    seconds = max(int(time.time()), *seconds, 0)
    name = f"{_PREFIX}{seconds:010d}.{socket.gethostname()}.{os.getpid()}{_SUFFIX}"
    return open(directory / name, "xb", buffering=0)


def _cut(path, step):
    """Cut a file off at its first event of that step or a later one, or where it is torn."""
    with open(path, "r+b") as file:
        while True:
            begin = file.tell()
            event = _read(file)
            if event is None or (event.step >= step and not event.file_version):
                file.truncate(begin)
                return


def _read(file):
    """The next event; None at the end or where a writer was killed. TFRecord format:

    uint64 length, uint32 checksum of it, the event, uint32 checksum of it; little-endian.
    """
    header = file.read(12)
    if len(header) < 12 or struct.unpack("<I", header[8:])[0] != masked_crc32c(header[:8]):
        return None
    length = struct.unpack("<Q", header[:8])[0]
    data = file.read(length + 4)
    if len(data) < length + 4:
        return None
    try:
        return Event.FromString(data[:-4])
    except DecodeError:
        return None
