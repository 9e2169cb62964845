import doctest
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

from mnist_keras import TapeModel
from mnist_keras.app import compare as module
from mnist_keras.app.compare import compare
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.callbacks import Checkpoint, HParams
from mnist_keras.checkpoint import storage
from mnist_keras.errors import UsageError
from tests.command_line import run_main, tree
from tests.terminals import Screen, Terminal, use_terminal

SCORES = {"test_loss": 0.25512, "test_accuracy": 0.9201}


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def begin(name, **recipe):
    """Start a run."""
    run = RunDirectory(pathlib.Path("logs", name))
    run.path.mkdir(parents=True)
    run.store_recipe(RunConfig(**{"dataset": "mnist", "batch_size": 100, "epochs": 3, **recipe}))
    return run


def save(run, *, step, epoch, seconds, **metrics):
    """Save a checkpoint of a run."""
    state = {
        "position": {"step": step, "epoch": epoch, "step_in_epoch": 0},
        "callbacks": [["Stopwatch", {"seconds": seconds}], ["StepLogger", {}]],
    }
    files = {"state.json": json.dumps(state).encode(), "state.npz": b"arrays"}
    run.checkpoints.mkdir(exist_ok=True)
    directory = run.checkpoints / f"step-{step:08d}"
    storage.write_directory(directory, files, {"step": step, "metrics": metrics})
    return directory


def finish(run, *, steps=1800, epochs=3, seconds=75.5, **others):
    """Write the files of a finished run."""
    save(run, step=steps, epoch=epochs, seconds=seconds, loss=0.3, accuracy=0.9)
    run.write_model(b"network")
    speed = {"seconds": seconds, "images_per_second": 100 * steps / seconds}
    run.write_summary({"epochs": epochs, "steps": steps, **speed, **SCORES, **others})
    return run


@pytest.fixture
def table(capsys):
    """table(*paths): (lines on stdout, lines on stderr)."""

    def table(*paths, **values):
        compare(RunConfig(mode="compare", paths=paths, **values))
        out, err = capsys.readouterr()
        return out.splitlines(), err.splitlines()

    return table


def test_the_table_shows_differing_flags_results_and_progress_of_runs(
    table,
):
    finish(begin("first"))
    slower = begin("数字", learning_rate=0.0001, optimizer="adam", log_every_steps=7)
    save(slower, step=600, epoch=1, seconds=30.0, loss=0.5, val_loss=0.6, accuracy=0.8)
    save(slower, step=900, epoch=1, seconds=45.0)
    begin("just begun", shuffle=True, epochs=4)
    lines, notices = table("logs/first", "logs/数字", "logs/just begun")
    assert lines == [
        "run         --optimizer  --learning_rate  --shuffle  --log_every_steps  epochs  steps"
        "    loss  accuracy  val_loss  test_loss  test_accuracy  time  images/s",
        "first               sgd            0.001      false                100       3   1800"
        "  0.3000    0.9000         -     0.2551         0.9201  1:15     2,384",
        "数字               adam           0.0001      false                  7     1/3    900"
        "  0.5000    0.8000    0.6000          -              -  0:45     2,000",
        "just begun          sgd            0.001       true                100     0/4      0"
        "       -         -         -          -              -     -         -",
    ]
    assert notices == []


def test_flags_that_change_only_the_display_are_omitted(table):
    finish(begin("a", loss="categorical_crossentropy", projector=True, pictures_every_epochs=1))
    finish(begin("b", report=False, histograms_every_epochs=1, profile_steps="3-4"))
    (titles, *_), _ = table("logs/a", "logs/b")
    assert [title for title in titles.split() if title.startswith("--")] == ["--loss"]
    assert titles.split().count("loss") == 1


def train_with_hyperparameters(name, **recipe):
    """Train without main.py: two epochs of two steps."""
    keras.utils.set_random_seed(0)
    model = TapeModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile("sgd", "mse")
    x, y = np.ones((8, 3), "float32"), np.zeros((8, 1), "float32")
    watchers = [HParams(f"logs/{name}", recipe), Checkpoint(f"logs/{name}/checkpoints")]
    return model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=watchers).history


@pytest.mark.slow
def test_runs_without_flags_are_compared_by_hyperparameters(table):
    first = train_with_hyperparameters("a", rate=0.001, width=100, is_wide=False, loss="mse")
    second = train_with_hyperparameters("b", rate=0.01, width=10, is_wide=True, loss="mse")
    lines, notices = table("logs/a", "logs/b")
    assert [line.split() for line in lines] == [
        ["run", "is_wide", "rate", "width", "epochs", "steps", "loss", "time", "images/s"],
        ["a", "false", "0.001", "100", "2", "4", f"{first['loss'][-1]:.4f}", "-", "-"],
        ["b", "true", "0.01", "10", "2", "4", f"{second['loss'][-1]:.4f}", "-", "-"],
    ]
    assert notices == []


@pytest.mark.slow
def test_flags_and_hyperparameters_of_one_name_share_a_column(table):
    finish(begin("a"))
    train_with_hyperparameters("b", learning_rate=0.25, width=10)
    lines, _ = table("logs/a", "logs/b")
    titles, *rows = (line.split() for line in lines)
    column = titles.index("--learning_rate")
    assert [row[column] for row in rows] == ["0.001", "0.25"]
    assert "width" in titles


def test_without_paths_all_runs_in_the_logdir_are_compared(table):
    for name in ("b", "a"):
        finish(begin(name))
    pathlib.Path("logs", "notes").mkdir()
    lines, notices = table()
    assert [line.split()[0] for line in lines] == ["run", "a", "b"]
    assert notices == []
    assert table(logdir="logs") == (lines, [])


def test_a_run_given_twice_is_shown_once(table):
    finish(begin("a"))
    assert len(table("logs/a", "logs/../logs/a/")[0]) == 2


def test_runs_with_the_same_name_are_shown_by_their_paths(table):
    finish(begin("a"))
    finish(begin("more/a"))
    lines, _ = table("logs/a", "logs/more/a")
    assert [line.split()[0] for line in lines] == ["run", "logs/a", "logs/more/a"]


def test_a_finished_run_being_extended_counts_as_unfinished(table):
    run = finish(begin("a"))
    run.store_recipe(RunConfig(dataset="mnist", batch_size=100, epochs=30))
    lines, _ = table("logs/a")
    assert lines[1].split() == ["a", "3/30", "1800", "0.3000", "0.9000", "1:15", "2,384"]


def test_a_run_without_its_model_counts_as_unfinished(table):
    finish(begin("a")).model.unlink()
    assert table("logs/a")[0][1].split()[1] == "3/3"


def test_a_damaged_checkpoint_is_skipped(table):
    run = begin("a")
    save(run, step=600, epoch=1, seconds=30.0, loss=0.5)
    damaged = save(run, step=1200, epoch=2, seconds=60.0, loss=0.4)
    (damaged / "state.json").write_bytes(b"{}")
    (save(run, step=1800, epoch=3, seconds=90.0) / "manifest.json").unlink()
    assert table("logs/a")[0][1].split() == ["a", "1/3", "600", "0.5000", "0:30", "2,000"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"position": 7}',
        "1" * 400,
        '{"position": {"step": Infinity, "epoch": 1}, "callbacks": []}',
        '{"position": {"step": "7", "epoch": 1}, "callbacks": []}',
    ],
    ids=["nested", "other", "digits", "infinity", "text"],
)
def test_a_checkpoint_of_other_json_is_skipped(text, table):
    run = begin("a")
    save(run, step=600, epoch=1, seconds=30.0, loss=0.5)
    files = {"state.json": text.encode(), "state.npz": b""}
    description = {"step": 1200, "metrics": {"loss": 0.4}}
    storage.write_directory(run.checkpoints / "step-00001200", files, description)
    assert table("logs/a")[0][1].split()[:4] == ["a", "1/3", "600", "0.5000"]


def test_names_that_stdout_cannot_encode_are_escaped(tmp_path):
    finish(begin("数字"))
    finish(begin("b"))
    done = run_main("--mode=compare", cwd=tmp_path, PYTHONIOENCODING="ascii:strict")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["run", "b", r"\u6570\u5b57"]
    assert (done.returncode, done.stderr) == (0, "")


def test_the_arrays_of_a_checkpoint_are_not_read(table):
    run = begin("a")
    (save(run, step=600, epoch=1, seconds=30.0, loss=0.5) / "state.npz").unlink()
    assert table("logs/a")[0][1].split()[1] == "1/3"


def test_only_the_numbers_of_an_edited_summary_are_shown(table):
    finish(begin("a"), seconds=0.0001, steps=1800, test_loss="low", images_per_second=None)
    assert table("logs/a")[0][1].split()[-4:] == ["-", "0.9201", "0:00", "-"]


def test_a_flag_unknown_to_an_earlier_version_has_its_default(table):
    old = finish(begin("old"))
    finish(begin("new", keep_best_checkpoints=2))
    recipe = old.recipe.read_text().splitlines()
    old.recipe.write_text("\n".join(line for line in recipe if "keep_best" not in line))
    lines, _ = table("logs/old", "logs/new")
    assert [line.split()[:2] for line in lines] == [
        ["run", "--keep_best_checkpoints"],
        ["old", "1"],
        ["new", "2"],
    ]


def test_paths_that_are_not_runs_are_reported_others_shown(table):
    finish(begin("a"))
    pathlib.Path("logs/notes.txt").write_text("mine")
    pathlib.Path("logs/strange/train").mkdir(parents=True)
    begin("damaged").recipe.write_bytes(b"\xff\xfe")
    lines, notices = table("logs/a", "logs/notes.txt", "logs/strange", "no\nne", "logs/damaged")
    assert [line.split()[0] for line in lines] == ["run", "a"]
    no_run = "skipped: this is not a run's directory. Received: {}. Expected: a directory with "
    assert notices[:3] == [
        no_run.format(path) + "flags.txt, or with events of HParams."
        for path in ("logs/notes.txt", "logs/strange", "no\\nne")
    ]
    assert notices[3].startswith("skipped: the run's recipe cannot be read. Received: logs/dam")
    assert len(notices) == 4


def test_a_run_without_read_permission_is_omitted(table, monkeypatch):
    finish(begin("a"))
    begin("b").checkpoints.mkdir()
    names = storage.directory_names

    def refuse(path):
        if "b" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return names(path)

    monkeypatch.setattr(storage, "directory_names", refuse)
    lines, notices = table()
    assert len(lines) == 2
    assert notices == ["skipped: [Errno 13] Permission denied: 'logs/b/checkpoints'"]


@pytest.mark.parametrize(
    ("paths", "received"), [((), "--logdir=logs"), (("none", "no\tne"), "none no\\tne")]
)
def test_without_any_run_comparing_is_an_error(paths, received):
    with pytest.raises(UsageError) as caught:
        compare(RunConfig(mode="compare", paths=paths))
    assert str(caught.value) == (
        f"there is no run to compare. Received: {received}. Expected: the directories of runs."
    )


def shown_on_a_terminal(columns, monkeypatch):
    """The table of two runs with different seeds, as lines."""
    for name, seed in (("数字", 0), ("a", 1)):
        finish(begin(name, seed=seed))
    use_terminal(monkeypatch, columns=columns)
    screen = Screen(columns)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Terminal(screen))
        compare(RunConfig(mode="compare", paths=("logs/数字", "logs/a")))
    return screen.lines


def test_a_table_wider_than_the_terminal_continues_below(monkeypatch):
    assert shown_on_a_terminal(42, monkeypatch) == [
        "run   --seed  epochs  steps    loss",
        "数字       0       3   1800  0.3000",
        "a          1       3   1800  0.3000",
        "",
        "run   accuracy  test_loss  test_accuracy",
        "数字    0.9000     0.2551         0.9201",
        "a       0.9000     0.2551         0.9201",
        "",
        "run   time  images/s",
        "数字  1:15     2,384",
        "a     1:15     2,384",
    ]


@pytest.mark.parametrize(("columns", "tables"), [(100, 1), (87, 1), (86, 2), (10, 9)])
def test_the_table_is_split_to_fit_the_width(columns, tables, monkeypatch):
    lines = shown_on_a_terminal(columns, monkeypatch)
    assert sum(line.startswith("run") for line in lines) == tables


def test_the_command_runs_without_tensorflow_and_changes_no_file(tmp_path):
    finish(begin("a"))
    begin("b", batch_size=7)
    for name in ("tensorflow", "keras"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text("import os; os._exit(99)\n")
    before = tree(tmp_path / "logs")
    done = run_main(
        "--mode=compare", "logs/a", "logs/b", cwd=tmp_path, PYTHONPATH=str(tmp_path / "blocked")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["run", "--batch_size"],
        ["a", "100"],
        ["b", "7"],
    ]
    assert tree(tmp_path / "logs") == before


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(module).failed == 0
