"""Keeps the curves of an earlier training when another one begins in its directory."""

import os
import pathlib
import shutil
from typing import NamedTuple

from tensorboard.compat.proto.event_pb2 import SessionLog

from mnist_keras.callbacks.tensorboard.event_files import events_in, files_of_run, tags_of
from mnist_keras.checkpoint import earlier, storage


class EarlierRun(NamedTuple):
    """Where the points of an earlier training are now.

    Attributes:
        directory: a subdirectory of the run's directory, laid out as the run.
        first, last: the steps of its first and its last point.
    """

    directory: pathlib.Path
    first: int
    last: int


def repeats(logdir, *, step, resumes):
    """Whether a session writes the points from its first step on again, the same ones.

    A training that resumes does. One that was killed before its first checkpoint does, from step 0.
    One that has ended or has had a checkpoint does not: it had no `Checkpoint`, or its checkpoints
    were removed to train anew.

    Args:
        logdir: the run's directory, a path.
        step: the step at which the session begins.
        resumes: whether it continues from a checkpoint, or would if there was one.

    Raises:
        OSError: the files of earlier sessions cannot be read.
    """
    files = files_of_run(pathlib.Path(logdir))
    return resumes and (step > 0 or not any(map(_is_of_another_training, files)))


def keep(logdir, *, step, begins_anew):
    """Keep the points that a session would replace by others, in ``logdir/earlier-N``.

    TensorBoard shows that directory as another run. A training that begins anew has nothing in
    common with the earlier one, whose files are moved. Another one has its first steps in common,
    so the files are copied.

    Args:
        logdir: the run's directory, a ``pathlib.Path``.
        step: the step at which the session begins.
        begins_anew: whether it is of another training, at step 0 or with another model.

    Returns:
        An `EarlierRun`; None if there are no such points.

    Raises:
        OSError: the files cannot be moved or copied.
    """
    files = files_of_run(logdir)
    steps = {path: found for path in files if (found := _steps(path))}
    if not steps:
        return None
    first, last = min(map(min, steps.values())), max(map(max, steps.values()))
    # Points at exactly the step of a later session describe its first weights.
    if step >= last and not begins_anew:
        return None
    target = earlier.new_directory(logdir)
    for path in steps:
        new = target / path.relative_to(logdir)
        storage.make_directories(new.parent)
        if begins_anew:
            os.replace(path, new)
            path.touch()  # The session's own file gets a later name, so TensorBoard reads it.
        else:
            shutil.copy2(path, new)
    return EarlierRun(target, first, last)


def _is_of_another_training(path):
    """Whether the training of a file has ended, or has saved or restored a checkpoint."""
    return any(
        event.session_log.status in (SessionLog.CHECKPOINT, SessionLog.STOP)
        or (event.session_log.status == SessionLog.START and event.step > 0)
        for _, _, event in events_in(path)
    )


def _steps(path):
    """The steps at which a file has points, a set."""
    return {event.step for _, _, event in events_in(path) if tags_of(event)}
