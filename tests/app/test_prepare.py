import dataclasses
import hashlib

import numpy as np
import pytest

from mnist_keras.app import prepare
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.data import Examples
from mnist_keras.errors import MnistKerasError, UsageError
from tests.command_line import tree

MODEL = b"the network"


@pytest.fixture
def config(tmp_path):
    return RunConfig(
        dataset="mnist", logdir=str(tmp_path), run_name="a", epochs=2, batch_parts=1, batch_size=10
    )


@pytest.fixture
def run(config, tmp_path):
    """A finished run of 20 steps, with its last checkpoint and an older one."""
    run = RunDirectory(tmp_path / "a")
    run.path.mkdir()
    run.store_recipe(config)
    for step in (10, 20):
        CheckpointDirectory(run.checkpoints, keep=9).save(step, {"state": b"%d" % step}, {})
    run.write_model(MODEL)
    sha256 = hashlib.sha256(MODEL).hexdigest()
    run.write_summary({"epochs": 2, "steps": 20, "test_accuracy": 0.5, "model_sha256": sha256})
    return run


def damage_checkpoints(run):
    for path in run.checkpoints.glob("*/state"):
        path.write_bytes(b"??")


@pytest.mark.parametrize("damaged", [b"", MODEL[:-1], b"The network"])
def test_a_damaged_model_of_a_finished_run_is_written_again(damaged, run, config, capsys):
    assert prepare.resolve_auto(run, config) is None
    run.model.write_bytes(damaged)
    capsys.readouterr()
    assert prepare.resolve_auto(run, config) == {"dataset": "mnist", "batch_parts": 1}
    assert capsys.readouterr().err == (
        f"{run.model} is damaged: it is written again from the run's last checkpoint.\n"
    )


def test_a_run_past_its_end_is_refused_without_other_words(run, config, capsys):
    run.model.write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        prepare.resolve_auto(run, dataclasses.replace(config, epochs=1))
    assert str(caught.value) == (
        "run a is already past its end. Received: --epochs=1. Expected: at least 2, "
        "as 20 steps of 10 per epoch are done, or --overwrite to start it anew."
    )
    assert capsys.readouterr().err == ""


def test_a_damaged_model_without_its_checkpoint_is_an_error(run, config):
    run.model.write_bytes(b"")
    damage_checkpoints(run)
    with pytest.raises(MnistKerasError) as caught:
        prepare.resolve_auto(run, config)
    assert str(caught.value) == (
        f"{run.model} is damaged, and the run's last checkpoint is gone or damaged too. Received: "
        f"no undamaged checkpoint after 20 steps in {run.checkpoints}. "
        "Expected: one, or --overwrite to start the run anew."
    )


def test_a_finished_run_without_any_checkpoint_is_not_extended(run, config, capsys):
    longer = dataclasses.replace(config, epochs=3)
    (run.checkpoints / "step-00000020" / "state").write_bytes(b"??")
    assert prepare.resolve_auto(run, longer) == {"dataset": "mnist", "batch_parts": 1}
    damage_checkpoints(run)
    with pytest.raises(MnistKerasError) as caught:
        prepare.resolve_auto(run, longer)
    assert str(caught.value) == (
        "the finished run cannot be trained longer: its checkpoints are gone or damaged. Received: "
        f"no undamaged checkpoint after 20 steps in {run.checkpoints}. "
        "Expected: one, or --overwrite to start the run anew."
    )
    assert capsys.readouterr().err == ""


def test_a_look_at_a_finished_run_tidies_up(run, config):
    for path in (run.path, run.checkpoints, run.path / "train"):
        (path / ".unfinished-it-01234567").mkdir(parents=True)
    (run.path / ".lock").touch()
    run.store_recipe(dataclasses.replace(config, keep_checkpoints=1))
    assert prepare.resolve_auto(run, config) is None
    assert [name for name, data in tree(run.path).items() if data is None] == [
        "checkpoints",
        "checkpoints/step-00000020",
        "train",
    ]
    assert not (run.path / ".lock").exists()


def test_a_look_with_other_flags_removes_no_checkpoint(run, config):
    assert prepare.resolve_auto(run, dataclasses.replace(config, keep_checkpoints=1)) is None
    assert run.steps_saved() == [10, 20]


def test_a_look_leaves_a_run_that_another_process_trains(run, config):
    other = RunDirectory(run.path)
    other.open()
    run.store_recipe(dataclasses.replace(config, keep_checkpoints=1))
    before = tree(run.path)
    assert prepare.resolve_auto(run, config) is None
    assert tree(run.path) == before
    other.close()


def test_starting_from_damaged_checkpoints_is_an_error(run, config, tmp_path):
    damage_checkpoints(run)
    before = tree(run.path)
    asked = dataclasses.replace(config, run_name="b", start_from=str(run.path))
    with pytest.raises(MnistKerasError) as caught:
        prepare.resolve_auto(RunDirectory(tmp_path / "b"), asked)
    assert caught.value.exit_status == 1
    assert str(caught.value) == (
        f"--start_from: all checkpoints are damaged. Received: {run.checkpoints} with "
        "step-00000010, step-00000020. Expected: at least one undamaged checkpoint."
    )
    assert tree(run.path) == before


@pytest.mark.parametrize("name", ["a", "link"])
def test_overwriting_a_run_by_its_own_continuation_is_refused(name, run, config, tmp_path):
    (tmp_path / "link").symlink_to(run.path)
    before = tree(run.path)
    start_from = str(tmp_path / name)
    asked = dataclasses.replace(config, overwrite=True, start_from=start_from)
    with pytest.raises(UsageError) as caught:
        prepare.resolve_auto(run, asked)
    assert str(caught.value) == (
        f"--start_from is the run itself. Received: {start_from}. "
        "Expected: another run, or another --run_name."
    )
    assert tree(run.path) == before


def test_exchanged_test_or_validation_images_change_the_identity():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (30, 28, 28), dtype=np.uint8)
    labels = np.zeros(30, np.uint8)
    config = RunConfig(batch_size=5, validation_examples=5)

    def identity(images):
        train_set, test_set = Examples(images[:20], labels[:20]), Examples(images[20:], labels[20:])
        return prepare.streams(config, train_set, test_set=test_set)[0].identity

    expected = identity(images)
    for at, name in ((0, "sha256"), (17, "validation_sha256"), (25, "test_sha256")):
        exchanged = images.copy()
        exchanged[at] += 1
        found = identity(exchanged)
        assert {it for it in found if found[it] != expected[it]} == {name}
