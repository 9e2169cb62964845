"""Which checkpoint of another training, its donor, a training began with.

The donor may still be training: its newest checkpoint changes, and old ones are removed. So the
choice is recorded in ``started_from.json`` beside the training's own checkpoints. A training that
is killed before its own first checkpoint then begins with the same one again.
"""

import json
import os

from mnist_keras.checkpoint import storage
from mnist_keras.errors import MnistKerasError
from mnist_keras.inputs import json_text
from mnist_keras.inputs.regular_file import read_regular

RECORD = "started_from.json"


def take(donor, own, notice, *, check=None):
    """Read the checkpoint that a training begins with: the recorded one, else the donor's newest.

    Args:
        donor, own: the checkpoints of the two trainings, each a
            `mnist_keras.checkpoint.checkpoint_directory.CheckpointDirectory`.
        notice: called with a message for each damaged checkpoint that is skipped.
        check: as for ``CheckpointDirectory.newest``.

    Returns:
        A `mnist_keras.checkpoint.storage.Stored`.

    Raises:
        MnistKerasError: the recorded checkpoint is gone, or is another one now.
        DamagedError: it is damaged, the record is, or all checkpoints of the donor are.
        UsageError: the donor has no checkpoint.
    """
    name, sha256 = _recorded(donor, own)
    if name is None:
        return donor.require_newest(notice, check=check)
    path = donor.path / name
    if not os.path.lexists(path / storage.MANIFEST):
        raise _gone(path, own, f"no {path}")
    taken = storage.read_directory(path)
    if taken.manifest_sha256 != sha256:
        raise _gone(path, own, f"another checkpoint in {path}")
    return taken


def record(taken, donor, own):
    """Record the checkpoint that `take` returned.

    Raises:
        MnistKerasError: the record cannot be written.
    """
    content = {
        "directory": os.path.realpath(donor.path),
        "name": donor.directory(taken.description["step"]).name,
        "manifest_sha256": taken.manifest_sha256,
    }
    try:
        storage.make_directories(own.path)
        storage.write_file(own.path / RECORD, f"{json.dumps(content, indent=2)}\n".encode())
    except OSError as error:
        raise MnistKerasError(
            f"the checkpoints cannot be written: {error.strerror or error}. Received: {own.path}. "
            "Expected: a directory with space left."
        ) from error


def _recorded(donor, own):
    """(name, sha256 of its manifest) of the recorded checkpoint of this donor, or (None, None)."""
    try:
        content = json_text.parse(read_regular(own.path / RECORD))
        is_of_donor = content["directory"] == os.path.realpath(donor.path)
        name, sha256 = content["name"], content["manifest_sha256"]
        if not isinstance(name, str):
            raise TypeError("a name that is not a text")
        return (name, sha256) if is_of_donor else (None, None)
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise storage.DamagedError(
            f"{own.path / RECORD} is damaged. Received: {type(error).__name__}. "
            "Expected: the checkpoint that this training began with."
        ) from error


def _gone(path, own, received):
    return MnistKerasError(
        f"the checkpoint that this training began with is gone. Received: {received}. "
        f"Expected: {path.name} as it was, or a new training in another directory than {own.path}."
    )
