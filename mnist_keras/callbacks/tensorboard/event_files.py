"""The event files of a run: which they are, and what is in them."""

import re

from tensorboard.compat.proto.event_pb2 import Event

from mnist_keras.data.formats.record_framing import read_record
from mnist_keras.inputs.regular_file import open_regular

PREFIX, SUFFIX = "events.out.tfevents.", ".mnist_keras"
EVENT_FILES = f"{PREFIX}*{SUFFIX}"
GRAPH = "graph_def"
_EARLIER = "earlier-"  # Followed by a number: the directory of an earlier training's files.


def is_subdirectory(name):
    """Whether a run may write into a subdirectory of this name; "." is the run's directory itself.

    >>> [is_subdirectory(name) for name in (".", "train", "..", "a/b", "earlier-1")]
    [True, True, False, False, False]
    """
    return name == "." or (
        re.fullmatch(r"[^/\\]+", name) is not None and name != ".." and _number(name) is None
    )


def files_of_run(logdir):
    """The event files in a run's directory and in its subdirectories, a list of paths.

    Files of other programs, of earlier trainings and of other runs are not among them.

    Args:
        logdir: the run's directory, a ``pathlib.Path``.
    """
    subdirectories = {path.parent for path in logdir.glob(f"*/{EVENT_FILES}")}
    own = sorted(path for path in subdirectories if not _is_another_run(path))
    paths = (path for directory in (logdir, *own) for path in directory.glob(EVENT_FILES))
    return sorted(path for path in paths if path.is_file())


def has_files_of_others(directory):
    """Whether another program's event files are in a directory."""
    return any(path.suffix != SUFFIX for path in directory.glob(f"{PREFIX}*"))


def new_earlier_directory(logdir):
    """The path ``logdir/earlier-N`` with the next number N; it is not created."""
    numbers = (_number(path.name) for path in logdir.glob("*/"))
    return logdir / f"{_EARLIER}{max((it for it in numbers if it), default=0) + 1}"


def events_in(path):
    """Reads a file up to its end or its first damaged byte.

    Yields:
        (the offset of an event, the offset after it, the event).
    """
    with open_regular(path) as file:
        begin = 0
        while (data := read_record(file)) is not None:
            end = file.tell()
            yield begin, end, Event.FromString(data)
            begin = end


def tags_of(event):
    """The tags of an event's summaries, or `GRAPH`."""
    if event.HasField("graph_def"):
        return {GRAPH}
    return {value.tag for value in event.summary.value}


def _is_another_run(directory):
    return _number(directory.name) is not None or any(directory.glob(f"*/{EVENT_FILES}"))


def _number(name):
    """The number in the name of a directory with an earlier training's files, or None."""
    match = re.fullmatch(rf"{_EARLIER}(\d+)", name)
    return match and int(match[1])
