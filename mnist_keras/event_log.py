"""TensorBoard event files of a run that may be interrupted and resumed any number of times."""

import os
import pathlib
import time

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class EventLog:
    """Writes scalars into ``logdir/SUBDIRECTORY`` for a run that begins or resumes at a step.

    Each file opens with a session-start event at that step, on which TensorBoard drops the points
    from there on that an interrupted session had written: they are about to be repeated.

    Args:
        logdir: the run's directory.
        step: where this session begins.
    """

    def __init__(self, logdir, *, step):
        self._logdir = pathlib.Path(logdir)
        self._step = step
        self._writers = {}
        for subdirectory in self._logdir.glob("*/events.out.tfevents.*"):
            self._writer(subdirectory.parent.name)

    def scalar(self, subdirectory, tag, value, step):
        """Write one point."""
        summary = scalar_pb(tag, float(value))
        event = Event(wall_time=time.time(), step=step)
        event.summary.ParseFromString(summary.SerializeToString())
        self._writer(subdirectory).add_event(event)

    def flush(self):
        """Bring all points to the disk."""
        for subdirectory, writer in self._writers.items():
            writer.flush()
            for path in (self._logdir / subdirectory).glob("events.out.tfevents.*"):
                with open(path, "rb") as file:
                    os.fsync(file.fileno())

    def close(self):
        """Flush and close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, subdirectory):
        if subdirectory not in self._writers:
            writer = EventFileWriter(str(self._logdir / subdirectory))
            start = SessionLog(status=SessionLog.START)
            writer.add_event(Event(wall_time=time.time(), step=self._step, session_log=start))
            self._writers[subdirectory] = writer
        return self._writers[subdirectory]
