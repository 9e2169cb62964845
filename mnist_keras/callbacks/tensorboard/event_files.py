"""The event files of a run: which they are, and what is in them."""

import os
import re
import shutil

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

from mnist_keras.checkpoint import earlier, storage
from mnist_keras.data.formats.record_framing import HEAD_BYTES, frame, is_cut_off, records_in
from mnist_keras.inputs.regular_file import open_regular

PREFIX, SUFFIX = "events.out.tfevents.", ".mnist_keras"
EVENT_FILES = f"{PREFIX}*{SUFFIX}"
GRAPH = "graph_def"
_DAMAGED = "damaged.events."  # TensorBoard reads the files with "tfevents" in their names.


def is_subdirectory(name):
    """Whether a run may write into a subdirectory of this name; "." is the run's directory itself.

    >>> [is_subdirectory(name) for name in (".", "train", "..", "a/b", "earlier-1")]
    [True, True, False, False, False]
    """
    return name == "." or (
        re.fullmatch(r"[^/\\]+", name) is not None and name != ".." and earlier.number(name) is None
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


def events_in(path):
    """Reads all events of a file; damaged parts are skipped.

    Yields:
        (the offset of an event, the offset after it, the event). Where the offset is not that after
        the event before, a part between them is damaged.
    """
    with open_regular(path) as file:
        for begin, end, _, event in _records_of_events(file):
            yield begin, end, event


def _records_of_events(file):
    for begin, end, data in records_in(file):
        try:
            event = Event.FromString(data)
        except DecodeError:
            continue
        yield begin, end, data, event


def is_damaged_from(path, offset):
    """Whether a file has more bytes from an offset on than those of one event that was cut off."""
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END) - offset
        file.seek(offset)
        head = file.read(HEAD_BYTES)
    return size > 0 and not is_cut_off(head, size)


def repair(path, *, end):
    """Keep the readable events of a damaged file before an offset, and the file itself elsewhere.

    Returns:
        The path of the damaged file, which TensorBoard does not read.
    """
    with open_regular(path) as file:
        records = _records_of_events(file)
        readable = [frame(data) for _, after, data, _ in records if after <= end]
    aside = path.with_name(_DAMAGED + path.name.removeprefix(PREFIX))
    # A killed repair may have linked them: then a rename to it does nothing and leaves both names.
    if not (aside.exists() and aside.samefile(path)):
        storage.build(aside, lambda temporary: _link_or_copy(path, temporary))
    repaired = aside.with_suffix(".repaired")
    storage.write_file(repaired, b"".join(readable))
    os.replace(repaired, path)
    return aside


def _link_or_copy(path, new):
    """Give a file a second name; it may have any size."""
    try:
        os.link(path, new)
    except OSError:  # Some file systems have no such links.
        shutil.copyfile(path, new)


def tags_of(event):
    """The tags of an event's summaries, or `GRAPH`."""
    if event.HasField("graph_def"):
        return {GRAPH}
    return {value.tag for value in event.summary.value}


def _is_another_run(directory):
    return earlier.number(directory.name) is not None or any(directory.glob(f"*/{EVENT_FILES}"))
