"""A run that was moved or copied continues where its flags.txt lies."""

import doctest
import os
import shutil

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from mnist_keras.app import flags, moved_runs
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.errors import UsageError
from tests.command_line import fork_main, tree, write_small_mnist

CHECKPOINT = "checkpoints/step-00000004/manifest.json"


@pytest.fixture(autouse=True)
def command_line(monkeypatch, tmp_path):
    """For the flags each test looks like a new process, in a new directory."""
    if "batch_size" not in absl_flags.FLAGS:
        flags.define()
    monkeypatch.delenv("MNIST_KERAS_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    with flagsaver.flagsaver():
        absl_flags.FLAGS.unparse_flags()
        yield


def parse(*arguments):
    return flags.parse(["main.py", *arguments])


def write_run(path, *signs, **recipe):
    """Write a run's flags.txt and other files of a training."""
    run = RunDirectory(path)
    run.path.mkdir(parents=True)
    run.store_recipe(RunConfig(seed=7, **recipe))
    for sign in signs or [CHECKPOINT]:
        (run.path / sign).parent.mkdir(parents=True, exist_ok=True)
        (run.path / sign).touch()
    return run


def place(config):
    """Where the config's run lies, and a setting that only its recipe has."""
    return os.path.realpath(f"{config.logdir}/{config.run_name}"), config.seed


@pytest.mark.parametrize("name", ["first", "two words", "数 字"])
@pytest.mark.parametrize("mode", ["train", "evaluate", "find_learning_rate"])
@pytest.mark.parametrize("leave", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_run_is_found_where_its_flags_lie(leave, mode, name, tmp_path):
    write_run(tmp_path / "logs" / "old")
    (tmp_path / "elsewhere").mkdir()
    leave("logs/old", f"elsewhere/{name}")
    config = parse(f"--mode={mode}", f"--flagfile=elsewhere/{name}/flags.txt")
    assert place(config) == (str(tmp_path / "elsewhere" / name), 7)


@pytest.mark.parametrize("path", ["flags.txt", "./flags.txt", "../new/flags.txt"])
def test_a_moved_run_is_found_from_inside(path, tmp_path, monkeypatch):
    write_run(tmp_path / "old").path.rename("new")
    monkeypatch.chdir("new")
    assert place(parse(f"--flagfile={path}")) == (str(tmp_path / "new"), 7)


@pytest.mark.parametrize(
    "signs",
    [
        [CHECKPOINT],
        ["events.out.tfevents.1.host-1.mnist_keras"],
        ["train/events.out.tfevents.1.host-1.mnist_keras"],
        ["model.keras", "summary.json"],
    ],
)
def test_any_file_of_a_training_makes_it_a_run(signs, tmp_path):
    write_run(tmp_path / "old", *signs).path.rename("new")
    assert place(parse("--flagfile=new/flags.txt")) == (str(tmp_path / "new"), 7)


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("flags.txt", "train/holiday.jpg"),
        ("flags.txt", "checkpoints/mine.pt"),
        ("flags.txt", "model.keras"),
        ("recipe.txt", CHECKPOINT),
    ],
)
def test_a_recipe_copied_out_of_a_run_names_that_run(name, sign, tmp_path):
    write_run(tmp_path / "logs" / "first")
    (tmp_path / "mine" / sign).parent.mkdir(parents=True)
    (tmp_path / "mine" / sign).touch()
    shutil.copy("logs/first/flags.txt", f"mine/{name}")
    assert place(parse(f"--flagfile=mine/{name}")) == (str(tmp_path / "logs" / "first"), 7)


def test_a_flag_file_that_names_no_run_stays_a_recipe(tmp_path):
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    (tmp_path / CHECKPOINT).touch()
    (tmp_path / "flags.txt").write_text("--seed=7\n--logdir=logs\n")
    assert parse("--flagfile=flags.txt") == RunConfig(seed=7, logdir="logs")


@pytest.mark.parametrize("logdir", ["logs", "./logs", "{here}/logs"])
def test_a_run_that_stayed_keeps_its_own_words(logdir, tmp_path):
    run = write_run(tmp_path / "logs" / "first")
    lines = run.recipe.read_text().splitlines()
    logdir = logdir.format(here=tmp_path)
    lines = [f"--logdir={logdir}" if it.startswith("--logdir=") else it for it in lines]
    run.recipe.write_text("\n".join(lines))
    assert parse("--flagfile=logs/first/flags.txt").logdir == logdir


def test_an_old_relative_recipe_works_from_other_directories(tmp_path, monkeypatch):
    run = write_run(tmp_path / "project" / "logs" / "first")
    run.recipe.write_text("--logdir=logs\n--run_name=first\n--seed=7\n")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    config = parse("--flagfile=../project/logs/first/flags.txt")
    assert place(config) == (str(run.path), 7)


@pytest.mark.parametrize("has_moved", [False, True])
@pytest.mark.parametrize(
    "typed", [["--run_name=x"], ["--logdir=y"], ["-logdir", "y", "--run_name", "x"]]
)
def test_a_typed_place_wins_on_both_sides(typed, has_moved, tmp_path):
    run = write_run(tmp_path / "logs" / "first")
    if has_moved:
        (tmp_path / "logs").rename(tmp_path / "kept")
        run = RunDirectory(tmp_path / "kept" / "first")
    expected = {
        "logdir": "y" if "y" in "".join(typed) else str(run.path.parent),
        "run_name": "x" if "x" in "".join(typed) else "first",
    }
    assert parse(*typed, run.flagfile) == RunConfig(seed=7, **expected)
    assert parse(run.flagfile, *typed) == RunConfig(seed=7, **expected)


def test_a_run_that_its_flags_do_not_name_is_announced(tmp_path, capsys):
    run = write_run(tmp_path / "logs" / "first")
    run.recipe.write_text(run.recipe.read_text().replace("run_name=first", "run_name=second"))
    assert place(parse("--flagfile=logs/first/flags.txt")) == (str(run.path), 7)
    assert capsys.readouterr().err == (
        f"logs/first/flags.txt names the run {tmp_path}/logs/second. "
        "The run in logs/first is used.\n"
    )
    with pytest.raises(UsageError, match=r"^--overwrite would replace a run that is not the one"):
        parse("--flagfile=logs/first/flags.txt", "--overwrite")
    again = parse("--flagfile=logs/first/flags.txt", "--overwrite", "--run_name=first")
    assert place(again) == (str(run.path), 7)


def test_only_paths_of_a_moved_run_are_rewritten():
    lines = ["--logdir=.", "--run_name=cnn", "--network=cnn"]
    assert moved_runs.at_place(lines, "/c/d") == ["--logdir=/c", "--run_name=d", "--network=cnn"]


def test_a_moved_run_is_found_through_another_flag_file(tmp_path):
    write_run(tmp_path / "old").path.rename("new")
    (tmp_path / "outer.txt").write_text("--flagfile=new/flags.txt\n--epochs=60\n")
    config = parse("--flagfile=outer.txt")
    assert (place(config), config.epochs) == ((str(tmp_path / "new"), 7), 60)


def test_paths_inside_the_run_move_with_it(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    outside = {"start_from": str(tmp_path / "older")}
    run = write_run(old, data_dir=str(old / "digits"), **outside)
    (run.path / "more.txt").write_text("--epochs=60\n")
    with open(run.recipe, "a", encoding="utf-8") as file:
        file.write(f"--flagfile={old}/more.txt\n")
    old.rename(new)
    config = parse("--flagfile=new/flags.txt")
    assert (config.data_dir, config.epochs) == (str(new / "digits"), 60)
    assert config.start_from == outside["start_from"]


def test_a_moved_runs_stored_recipe_is_that_of_its_place(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    write_run(old, start_from=str(old / "earlier")).path.rename(new)
    stored = RunDirectory(new).stored_recipe()
    found = [stored[name] for name in ("logdir", "run_name", "start_from")]
    assert found == [str(tmp_path), "new", str(new / "earlier")]


@pytest.mark.slow
def test_a_copied_run_trains_on_beside_an_unchanged_original(tmp_path):
    data_dir = write_small_mnist(tmp_path / "data")
    first, second = tmp_path / "logs" / "first", tmp_path / "logs" / "second"
    small = ["--norun_text", "--noreport", "--pictures_every_epochs=0", "--nonetwork_graph"]
    begun = fork_main(
        f"--data_dir={data_dir}", "--run_name=first", "--epochs=1", *small, cwd=tmp_path
    )
    assert begun.returncode == 0, begun.stderr
    shutil.copytree(first, second)
    before = tree(first)
    done = fork_main("--flagfile=logs/second/flags.txt", "--epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumed after 5 steps" in done.stderr
    assert f"--mode=evaluate --flagfile={second}/flags.txt" in done.stderr
    assert (second / "checkpoints" / "step-00000010").is_dir()
    assert tree(first) == before


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(moved_runs).failed == 0
