import os

import pytest

from mnist_keras.checkpoint import donor, storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.errors import MnistKerasError


@pytest.fixture
def both(tmp_path):
    """(the donor's checkpoints, with those of steps 1 and 2; the training's own, none yet)."""
    theirs = CheckpointDirectory(tmp_path / "donor", keep=9)
    for step in (1, 2):
        save(theirs, step)
    return theirs, CheckpointDirectory(tmp_path / "own", keep=9)


def save(checkpoints, step, text=b"state"):
    checkpoints.save(step, {"state": text}, {})


def begin(theirs, own):
    """The step that a training begins with."""
    taken = donor.take(theirs, own, pytest.fail)
    donor.record(taken, theirs, own)
    return taken.description["step"]


def test_a_killed_training_begins_with_the_same_checkpoint(both):
    theirs, own = both
    assert begin(theirs, own) == 2
    save(theirs, 3)
    assert begin(theirs, own) == 2


def test_another_donor_is_taken_at_its_newest(both, tmp_path):
    theirs, own = both
    begin(theirs, own)
    another = CheckpointDirectory(tmp_path / "another", keep=9)
    save(another, 7)
    assert begin(another, own) == 7


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda theirs: storage.remove_directory(theirs.directory(2)), "no "),
        (lambda theirs: save(theirs, 2, b"another state"), "another checkpoint in "),
    ],
)
def test_a_recorded_checkpoint_that_is_gone_is_an_error(change, received, both):
    theirs, own = both
    begin(theirs, own)
    change(theirs)
    with pytest.raises(MnistKerasError) as caught:
        donor.take(theirs, own, pytest.fail)
    assert str(caught.value) == (
        "the checkpoint that this training began with is gone. "
        f"Received: {received}{theirs.directory(2)}. "
        "Expected: step-00000002 as it was, or a new training in another directory than "
        f"{own.path}."
    )


def test_damage_of_the_checkpoint_or_the_record_is_an_error(both):
    theirs, own = both
    begin(theirs, own)
    (theirs.directory(2) / "state").write_bytes(b"stale")
    with pytest.raises(storage.DamagedError, match="state is damaged"):
        donor.take(theirs, own, pytest.fail)
    (own.path / donor.RECORD).write_bytes(b"{")
    with pytest.raises(storage.DamagedError, match=r"started_from.json is damaged"):
        donor.take(theirs, own, pytest.fail)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"directory": "d", "name": 7}', None])
def test_a_record_of_anything_else_is_an_error(text, both):
    theirs, own = both
    own.path.mkdir()
    if text is None:
        os.mkfifo(own.path / donor.RECORD)
    else:
        (own.path / donor.RECORD).write_text(text)
    with pytest.raises(storage.DamagedError, match=r"started_from.json is damaged"):
        donor.take(theirs, own, pytest.fail)


def test_a_checkpoint_replaced_after_it_was_read_is_noticed_later(both):
    theirs, own = both
    taken = donor.take(theirs, own, pytest.fail)
    save(theirs, 2, b"another state")
    donor.record(taken, theirs, own)
    with pytest.raises(MnistKerasError, match="another checkpoint in "):
        donor.take(theirs, own, pytest.fail)


def test_a_record_that_cannot_be_written_is_an_error(both):
    theirs, own = both
    own.path.touch()
    with pytest.raises(MnistKerasError, match="the checkpoints cannot be written"):
        begin(theirs, own)
