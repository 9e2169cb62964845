import contextlib
import errno
import math
import os
import shutil

import pytest

from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.errors import UsageError


def files(step):
    return {"state.npz": b"numbers of step %d" % step, "state.json": b"{}"}


def save(checkpoints, step, **metrics):
    checkpoints.save(step, files(step), metrics)


def newest(checkpoints):
    """(step of the newest undamaged checkpoint or None, notices)."""
    notices = []
    stored = checkpoints.newest(notices.append)
    if stored is None:
        return None, notices
    assert stored.files == files(stored.description["step"])
    return stored.description["step"], notices


def present(checkpoints):
    """The saved steps; each checkpoint is undamaged."""
    for step in checkpoints.steps():
        storage.read_directory(checkpoints.directory(step))
    return checkpoints.steps()


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert newest(CheckpointDirectory(tmp_path / "none", keep=1)) == (None, [])
    (tmp_path / "empty").mkdir()
    assert newest(CheckpointDirectory(tmp_path / "empty", keep=1)) == (None, [])


def test_a_checkpoint_is_named_by_its_number_of_updates(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path / "run" / "checkpoints", keep=3)
    save(checkpoints, 600)
    save(checkpoints, 123_456_789)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-00000600",
        "step-123456789",
    ]
    assert newest(checkpoints) == (123_456_789, [])


NAN = math.nan
# name: (keep, mode, val_loss of the checkpoints 1, 2, 3, ..., kept checkpoints)
KEPT = {
    "the newest, without the metric": (2, "min", [None, None, None, None], [3, 4]),
    "one": (1, "min", [None, None, None], [3]),
    "more than there are": (5, "min", [None, None, None], [1, 2, 3]),
    "the best besides": (2, "min", [0.5, 0.1, 0.3, 0.4, 0.2], [2, 4, 5]),
    "the best is among the newest": (2, "min", [0.5, 0.3, 0.2, 0.1], [3, 4]),
    "the best is the highest": (1, "max", [0.5, 0.9, 0.3, -0.4], [2, 4]),
    "the first of two that are equal": (1, "min", [0.3, 0.1, 0.1, 0.2], [2, 4]),
    "nan is never the best": (1, "min", [NAN, 0.1, NAN, NAN], [2, 4]),
    "infinite is never the best": (1, "min", [math.inf, 3.0, 4.0], [2, 3]),
    "those without the metric do not count": (1, "max", [0.1, None, None, 0.05, None], [1, 5]),
}


@pytest.mark.parametrize("row", KEPT)
def test_the_newest_and_the_best_are_kept(row, tmp_path):
    keep, mode, values, kept = KEPT[row]
    for step, value in enumerate(values, 1):
        # A new object each time, as after an interruption: only the disk has state.
        checkpoints = CheckpointDirectory(tmp_path, keep=keep, monitor="val_loss", mode=mode)
        save(checkpoints, step, **({} if value is None else {"val_loss": value}))
    assert present(checkpoints) == kept


def test_only_a_value_better_than_all_checkpoints_improves(tmp_path):
    def improving(mode, *values):
        checkpoints = CheckpointDirectory(tmp_path, keep=9, monitor="accuracy", mode=mode)
        return [value for value in values if checkpoints.improves({"accuracy": value})]

    assert improving("max", 0.1, NAN, -math.inf) == [0.1]
    save(CheckpointDirectory(tmp_path, keep=9), 1, accuracy=0.5)
    save(CheckpointDirectory(tmp_path, keep=9), 2, accuracy=0.4)
    assert improving("max", 0.4, 0.5, 0.6, NAN) == [0.6]
    assert improving("min", 0.3, 0.4, 0.5, NAN) == [0.3]
    assert not CheckpointDirectory(tmp_path, keep=9).improves({"accuracy": 0.9})
    assert not CheckpointDirectory(tmp_path, keep=9, monitor="loss").improves({"accuracy": 0.9})


def test_several_best_checkpoints_are_kept(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=1, keep_best=2, monitor="loss")
    improved = []
    for step, loss in enumerate((0.5, 0.3, 0.4, 0.3, 0.9), start=1):
        improved.append(checkpoints.improves({"loss": loss}))
        save(checkpoints, step, loss=loss)
    assert improved == [True, True, True, True, False]
    assert present(checkpoints) == [2, 4, 5]


def test_while_the_mode_is_not_known_nothing_is_removed(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=1, monitor="accuracy", mode=None)
    for step, accuracy in enumerate((0.5, 0.9, 0.4, 0.3), start=1):
        save(checkpoints, step, accuracy=accuracy)
    assert present(checkpoints) == [1, 2, 3, 4]
    checkpoints.mode = "max"
    save(checkpoints, 5, accuracy=0.2)
    assert present(checkpoints) == [2, 5]


def test_checkpoints_at_multiples_are_never_removed(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=2, keep_every_steps=10)
    for step in range(5, 50, 5):
        save(checkpoints, step)
    assert present(checkpoints) == [10, 20, 30, 40, 45]


def test_checkpoints_of_later_steps_are_kept_but_not_counted(tmp_path):
    save(CheckpointDirectory(tmp_path, keep=2), 100)
    checkpoints = CheckpointDirectory(tmp_path, keep=2)
    for step in (10, 20, 30):
        save(checkpoints, step)
    assert present(checkpoints) == [20, 30, 100]


def test_other_files_are_left_alone(tmp_path):
    for name in ("step-12", "step-0000001x", "steps", "notes.txt", ".hidden"):
        (tmp_path / name).touch()
    save(CheckpointDirectory(tmp_path, keep=1), 1)
    save(CheckpointDirectory(tmp_path, keep=1), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".hidden",
        "notes.txt",
        "step-00000002",
        "step-0000001x",
        "step-12",
        "steps",
    ]


DAMAGE = {
    "a flipped byte": lambda path: (path / "state.npz").write_bytes(b"Numbers of step 3"),
    "a file cut short": lambda path: (path / "state.npz").write_bytes(b"numb"),
    "a file missing": lambda path: (path / "state.json").unlink(),
    "an empty manifest": lambda path: (path / "manifest.json").write_bytes(b""),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "an empty directory": lambda path: [entry.unlink() for entry in path.iterdir()],
    "a file in its place": lambda path: (shutil.rmtree(path), path.touch()),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(kind, tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=3, monitor="loss")
    for step in (1, 2, 3):
        save(checkpoints, step, loss=1 / step)
    DAMAGE[kind](checkpoints.directory(3))
    step, (notice,) = newest(checkpoints)
    assert step == 2
    assert notice.startswith(str(checkpoints.directory(3)))
    assert notice.endswith(". The previous checkpoint is used.")
    assert "\n" not in notice
    # Training reaches that step again.
    save(checkpoints, 3, loss=0.0)
    assert newest(checkpoints) == (3, [])
    assert present(checkpoints) == [1, 2, 3]


def test_if_all_checkpoints_are_damaged_each_is_reported(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=3)
    for step in (1, 2):
        save(checkpoints, step)
        DAMAGE["no manifest"](checkpoints.directory(step))
    step, notices = newest(checkpoints)
    assert step is None
    assert [notice.partition("/manifest")[0] for notice in notices] == [
        str(checkpoints.directory(2)),
        str(checkpoints.directory(1)),
    ]
    assert notices[0].endswith(" The previous checkpoint is used.")
    assert notices[1].endswith(" No checkpoint is left.")


# (steps before, step saved, keep, steps after)
SAVES = {
    "the first": ([], 1, 3, [1]),
    "one more": ([1], 2, 3, [1, 2]),
    "with the oldest to be removed": ([1, 2], 3, 2, [2, 3]),
    "with two to be removed": ([1, 2, 3], 4, 1, [4]),
    "the same step again": ([1, 2], 2, 1, [2]),
    "the only one again": ([2], 2, 1, [2]),
}


@pytest.fixture(params=SAVES)
def situation(request, tmp_path):
    """(function that prepares and returns the directory, keep, steps before, saved, after)."""
    before, saved, keep, after = SAVES[request.param]
    root = tmp_path / "root"

    def prepare():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for step in before:
            save(CheckpointDirectory(root, keep=9), step)
        return root

    return prepare, keep, before, saved, after


@pytest.mark.parametrize("end", ["killed", "without power"])
def test_a_crash_during_a_save_keeps_the_newest_checkpoint(end, situation, film):
    prepare, keep, before, saved, after = situation
    root = prepare()
    copies = film(
        root, lambda disk: save(CheckpointDirectory(root, keep=keep, disk=disk), saved, loss=0.5)
    )[end]
    newest_before = before[-1] if before else None
    for copy in copies:
        checkpoints = CheckpointDirectory(copy, keep=keep)
        step, notices = newest(checkpoints)
        assert step in (newest_before, saved), copy.name
        assert notices == [], copy.name
        assert set(after) - {saved} <= set(present(checkpoints)), copy.name
        save(checkpoints, saved)
        assert present(checkpoints) == after, copy.name
        assert len(list(copy.iterdir())) == len(after), copy.name
    assert newest(CheckpointDirectory(copies[-1], keep=keep)) == (saved, [])


@pytest.mark.parametrize("end", ["killed", "without power"])
def test_a_crash_while_checkpoints_are_moved_loses_none(end, tmp_path, film):
    root = tmp_path / "root"
    for step in (3, 5, 9):
        save(CheckpointDirectory(root, keep=9), step)

    def move(disk):
        kept = CheckpointDirectory(root, keep=9, disk=disk).set_aside()
        assert kept == root / "earlier-1"

    copies = film(root, move)[end]
    for copy in copies:
        here, kept = (CheckpointDirectory(it, keep=9) for it in (copy, copy / "earlier-1"))
        assert newest(here) == ((9, []) if here.steps() else (None, [])), copy.name
        assert sorted([*present(here), *present(kept)]) == [3, 5, 9], copy.name
        here.set_aside()
        assert here.steps() == [], copy.name
    assert newest(kept) == (9, [])
    assert here.set_aside() is None


def test_a_disk_failure_during_a_save_loses_nothing(situation, failing_disk):
    prepare, keep, before, saved, after = situation
    never = failing_disk(None)
    save(CheckpointDirectory(prepare(), keep=keep, disk=never), saved)
    is_there = max(i for i, name in enumerate(never.names) if name == "sync_directory")
    for at, name in enumerate(never.names):
        root = prepare()
        is_saved = at > is_there  # Removing old checkpoints is not saving.
        with (
            contextlib.nullcontext()
            if is_saved
            else pytest.raises(OSError, match="No space left on device")
        ):
            save(CheckpointDirectory(root, keep=keep, disk=failing_disk(at)), saved)
        checkpoints = CheckpointDirectory(root, keep=keep)
        step, notices = newest(checkpoints)
        expected = (saved,) if is_saved else (before[-1] if before else None, saved)
        assert step in expected, (at, name)
        assert notices == [], (at, name)
        assert set(after) - {saved} <= set(present(checkpoints)), (at, name)
        save(checkpoints, saved)
        assert present(checkpoints) == after, (at, name)


@pytest.fixture
def stubborn(monkeypatch):
    """Nothing can be renamed or removed whose name contains one of these words."""
    words = []

    def unless_stubborn(function):
        def checked(path, *others, **options):
            if any(word in str(path) for word in words):
                raise PermissionError(errno.EPERM, "Operation not permitted")
            return function(path, *others, **options)

        return checked

    for module, name in ((os, "replace"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, unless_stubborn(getattr(module, name)))
    return words


def test_an_old_checkpoint_that_cannot_be_removed_is_reported_once(tmp_path, stubborn):
    notices = []
    checkpoints = CheckpointDirectory(tmp_path, keep=1, notice=notices.append)
    save(checkpoints, 1)
    stubborn.append("step-00000001")
    for step in (2, 3, 4):
        save(checkpoints, step)
    assert present(checkpoints) == [1, 4]
    assert notices == [
        f"{tmp_path}/step-00000001 cannot be removed and stays. "
        "Received: Operation not permitted. "
        "Expected: a directory in which this user may remove files."
    ]


def test_leftovers_of_another_user_are_reported_once(tmp_path, stubborn):
    notices = []
    checkpoints = CheckpointDirectory(tmp_path, keep=1, notice=notices.append)
    save(checkpoints, 1)
    (tmp_path / "step-00000001").rename(tmp_path / ".replaced-step-00000001")
    (tmp_path / ".unfinished-step-00000007-01234567").mkdir()
    stubborn += [".replaced-", ".unfinished-step-00000007"]
    for step in (2, 3, 4):
        save(checkpoints, step)
    assert present(checkpoints) == [1, 4]
    assert sorted(line.partition(" cannot")[0] for line in notices) == [
        f"{tmp_path}/.replaced-step-00000001",
        f"{tmp_path}/.unfinished-step-00000007-01234567",
    ]


def test_linked_checkpoints_are_removed_without_their_targets(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path / "own", keep=1)
    save(checkpoints, 1)
    (tmp_path / "own" / "step-00000001").rename(tmp_path / "big")
    (tmp_path / "own" / "step-00000001").symlink_to(tmp_path / "big")
    assert newest(checkpoints) == (1, [])
    save(checkpoints, 2)
    assert present(checkpoints) == [2]
    assert storage.read_directory(tmp_path / "big").files == files(1)


def test_a_link_to_an_unmounted_disk_is_an_error(tmp_path):
    (tmp_path / "own").symlink_to(tmp_path / "big disk")
    with pytest.raises(storage.DamagedError) as caught:
        newest(CheckpointDirectory(tmp_path / "own", keep=1))
    assert str(caught.value) == (
        f"the directory of the checkpoints cannot be read. Received: {tmp_path}/own, a link to "
        f"{tmp_path}/big disk. Expected: a link to a directory."
    )


def test_only_checkpoints_with_a_manifest_count_as_newest(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=2)
    save(checkpoints, 1)
    for step in (2, 3):
        (tmp_path / f"step-{step:08d}").mkdir()
    (tmp_path / "step-000000009").mkdir()
    save(checkpoints, 4)
    assert checkpoints.steps() == [1, 2, 3, 4]
    (tmp_path / "step-00000099").mkdir()
    assert checkpoints.newest_step() == 4


def test_a_kill_before_the_removal_is_tidied_up(tmp_path):
    for step in (1, 2, 3, 4):
        save(CheckpointDirectory(tmp_path, keep=9), step)
    (tmp_path / ".unfinished-step-00000001-01234567").mkdir()
    checkpoints = CheckpointDirectory(tmp_path, keep=1)
    checkpoints.tidy(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_a_donor_without_an_undamaged_checkpoint_is_refused(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=3)
    with pytest.raises(UsageError, match="there is no checkpoint"):
        checkpoints.require_newest(print)
    for step in (1, 2):
        save(checkpoints, step)
        DAMAGE["a flipped byte"](checkpoints.directory(step))
    with pytest.raises(storage.DamagedError) as caught:
        checkpoints.require_newest(lambda line: None)
    assert str(caught.value) == (
        f"all checkpoints are damaged. Received: {tmp_path} with step-00000001, step-00000002. "
        "Expected: at least one undamaged checkpoint."
    )


def test_in_a_linked_directory_only_own_leftovers_are_removed(tmp_path):
    disk = tmp_path / "big disk"
    own = [".unfinished-step-00000001-01234567", ".unfinished-started_from.json-01234567"]
    theirs = [".unfinished-thesis-01234567", ".unfinished-thesis", ".replaced-thesis"]
    for name in (*own, *theirs):
        (disk / name).mkdir(parents=True)
    (tmp_path / "own").symlink_to(disk)
    save(CheckpointDirectory(tmp_path / "own", keep=1), 1)
    assert sorted(path.name for path in disk.iterdir()) == sorted([*theirs, "step-00000001"])


def test_a_checkpoint_that_a_check_refuses_is_skipped(tmp_path):
    checkpoints = CheckpointDirectory(tmp_path, keep=3)
    for step in (1, 2):
        save(checkpoints, step)

    def check(contents):
        if contents == files(2):
            raise storage.DamagedError("a wrong kernel.")

    lines = []
    assert checkpoints.newest(lines.append, check=check).description["step"] == 1
    assert lines == [f"{tmp_path}/step-00000002: a wrong kernel. The previous checkpoint is used."]
