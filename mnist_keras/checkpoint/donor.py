"""Which checkpoint of another training, its donor, a training began with.

The donor may still be training: its newest checkpoint changes, and old ones are removed. So the
choice is recorded in ``started_from.json`` beside the training's own checkpoints. A training that
is killed before its own first checkpoint then begins with the same one again.
"""

import hashlib
import json
import os

from mnist_keras.checkpoint import storage
from mnist_keras.errors import MnistKerasError

RECORD = "started_from.json"


def take(donor, own, notice):
    """Read the checkpoint that a training begins with: the recorded one, else the donor's newest.

    Args:
        donor, own: the checkpoints of the two trainings, each a
            `mnist_keras.checkpoint.checkpoint_directory.CheckpointDirectory`.
        notice: called with a message for each damaged checkpoint that is skipped.

    Returns:
        A `mnist_keras.checkpoint.storage.Stored`.

    Raises:
        MnistKerasError: the recorded checkpoint is gone, or is another one now.
        DamagedError: it is damaged, the record is, or all checkpoints of the donor are.
        UsageError: the donor has no checkpoint.
    """
    name, sha256 = _recorded(donor, own)
    if name is None:
        return donor.require_newest(notice)
    path = donor.path / name
    try:
        found = _sha256(path)
    except OSError as error:
        raise _gone(path, own, f"no {path}") from error
    if found != sha256:
        raise _gone(path, own, f"another checkpoint in {path}")
    return storage.read_directory(path)


def record(taken, donor, own):
    """Record the checkpoint that `take` returned.

    Raises:
        MnistKerasError: the record cannot be written, or the checkpoint was removed meanwhile.
    """
    name = f"step-{taken.description['step']:08d}"
    try:
        sha256 = _sha256(donor.path / name)
    except OSError as error:
        raise _gone(donor.path / name, own, f"no {donor.path / name}") from error
    content = {"directory": os.path.realpath(donor.path), "name": name, "manifest_sha256": sha256}
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
        content = json.loads((own.path / RECORD).read_bytes())
        is_of_donor = content["directory"] == os.path.realpath(donor.path)
        return (content["name"], content["manifest_sha256"]) if is_of_donor else (None, None)
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise storage.DamagedError(
            f"{own.path / RECORD} is damaged. Received: {type(error).__name__}. "
            "Expected: the checkpoint that this training began with."
        ) from error


def _sha256(path):
    return hashlib.sha256((path / storage.MANIFEST).read_bytes()).hexdigest()


def _gone(path, own, received):
    return MnistKerasError(
        f"the checkpoint that this training began with is gone. Received: {received}. "
        f"Expected: {path.name} as it was, or a new training in another directory than {own.path}."
    )
