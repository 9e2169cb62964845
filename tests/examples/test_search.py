"""The hyperparameter search: what a kill leaves, and which trials end early."""

import errno
import os
import runpy
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from mnist_keras.callbacks import Checkpoint, StepLogger
from mnist_keras.data import batches
from mnist_keras.inputs.file_lock import FileLock
from tests import forks
from tests.command_line import environment, write_small_mnist
from tests.conftest import ROOT
from tests.test_examples import EXAMPLES

PROGRAM = str(EXAMPLES / "search.py")
# Six steps in an epoch, so the first checkpoint is in the middle of one.
SMALL = ["--trials=2", "--epochs=2", "--examples=600", "--every_steps=5"]


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="optuna is not here; .[tests] installs it")


@pytest.fixture
def small_mnist(tmp_path):
    return write_small_mnist(tmp_path / "mnist")


@pytest.fixture
def search(optuna, small_mnist, monkeypatch, capsys):
    """Run the program; returns the lines on (stdout, stderr)."""
    monkeypatch.setenv("MNIST_KERAS_DATA_DIR", str(small_mnist))

    def run(logdir, *arguments):
        monkeypatch.setattr(sys, "argv", ["search.py", f"--logdir={logdir}", *arguments])
        runpy.run_path(PROGRAM, run_name="__main__")
        return tuple(text.splitlines() for text in capsys.readouterr())

    return run


@pytest.fixture
def left_in(optuna, points_of):
    """(the trials of the study, TensorBoard's points except speed) of a directory."""

    def read(logdir):
        study = optuna.load_study(study_name="search", storage=f"sqlite:///{logdir}/study.db")
        trials = [
            (it.state.name, it.value, it.params, it.intermediate_values, it.user_attrs)
            for it in study.trials
        ]
        directories = [*logdir.glob("*/train"), *logdir.glob("*/validation")]
        points = {str(path.relative_to(logdir)): points_of(path) for path in directories}
        for tags in points.values():
            tags.pop("examples_per_second", None)
        return trials, points

    return read


@pytest.mark.slow
def test_killed_in_a_trial_it_gives_the_uninterrupted_result(
    search, left_in, small_mnist, tmp_path
):
    whole, _ = search(tmp_path / "whole", *SMALL)
    parts = tmp_path / "parts"
    program = [sys.executable, "-m", "tests.examples.killed_search"]
    killed = forks.run(
        [*program, "trial-01", "8", f"--logdir={parts}", *SMALL],
        cwd=ROOT,
        env=environment(MNIST_KERAS_DATA_DIR=str(small_mnist)),
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    lines, notices = search(parts, *SMALL)
    assert [line for line in notices if "resum" in line] == [
        f"resumed after 5 steps, from {parts}/trial-01/checkpoints/step-00000005"
    ]
    assert [line.split()[0] for line in whole[:2]] == ["trial-00", "trial-01"]
    shown = [line.replace(str(tmp_path / "whole"), str(parts)) for line in whole]
    assert killed.stdout.splitlines() + lines == shown
    trials, points = left_in(parts)
    failed = trials.pop(1)
    assert (trials, points) == left_in(tmp_path / "whole")
    assert failed == ("FAIL", None, trials[1][2], {5: trials[1][3][5]}, {"run": "trial-01"})
    assert list(trials[1][3]) == [5, 10]
    assert points["trial-01/train"]["loss"].keys() == {0, 5, 10}
    assert whole[-1].endswith(f"held-out loss: {min(trial[1] for trial in trials):.4f}")


@pytest.mark.slow
def test_more_trials_extend_a_finished_search(search, left_in, tmp_path):
    logdir, quick = tmp_path / "logs", ["--epochs=1", "--examples=200"]
    search(logdir, "--trials=1", *quick)
    (first,), _ = left_in(logdir)
    lines, _ = search(logdir, "--trials=2", *quick)
    assert lines[0].startswith("trial-01")
    assert left_in(logdir)[0][0] == first


@pytest.fixture
def pruning(optuna):
    """Make a trial that is behind an earlier one after 10 steps, and its `Pruning`."""
    example = runpy.run_path(PROGRAM)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=6)
    study = optuna.create_study(pruner=pruner)
    values = {5: 0.0, 10: 0.0}
    study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=values))

    def make():
        trial = study.ask()
        return trial, example["Pruning"](trial, every_steps=5)

    return make


@pytest.fixture
def stream(digits):
    return batches(digits[0][:700], digits[1][:700], batch_size=100)


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [1, 3, 100])
def test_a_trial_that_falls_behind_stops_at_the_true_step(
    steps_per_execution, pruning, make_model, stream, tmp_path, points_of
):
    model = make_model(steps_per_execution=steps_per_execution)
    (trial, callback), logger = pruning(), StepLogger(tmp_path, every_steps=1, echo=False)
    model.fit(stream, epochs=4, verbose=0, callbacks=[callback, logger])
    assert callback.is_pruned
    assert model.steps_trained == 10
    losses = points_of(tmp_path / "train")["loss"]
    assert list(losses) == list(range(10))
    reported = trial.study.trials[trial.number].intermediate_values
    assert reported == {
        end: pytest.approx(np.mean([losses[step] for step in range(end - 5, end)]))
        for end in (5, 10)
    }


@pytest.mark.slow
def test_a_trial_that_diverges_stops(pruning, make_model, stream):
    model = make_model(optimizer=keras.optimizers.SGD(1e30))
    _, callback = pruning()
    model.fit(stream, epochs=4, verbose=0, callbacks=[callback])
    assert callback.is_pruned
    assert model.steps_trained == 5


@pytest.mark.slow
def test_killed_between_two_reports_the_mean_is_unchanged(
    pruning, make_model, stream, crash, tmp_path
):
    whole, callback = pruning()
    make_model().fit(stream, epochs=4, verbose=0, callbacks=[callback])
    for end in (crash(step=8, saved=True), keras.callbacks.Callback()):
        trial, callback = pruning()
        checkpoint = Checkpoint(tmp_path, every_steps=4)
        try:
            make_model().fit(stream, epochs=4, verbose=0, callbacks=[callback, checkpoint, end])
        except RuntimeError:
            checkpoint.close()
    trials = trial.study.trials
    assert trials[trial.number].intermediate_values == trials[whole.number].intermediate_values


@pytest.mark.slow
def test_killed_after_the_decision_a_pruned_trial_stays_pruned(
    pruning, make_model, stream, crash, tmp_path
):
    for end in (crash(step=10, saved=True), keras.callbacks.Callback()):
        trial, callback = pruning()
        model, checkpoint = make_model(), Checkpoint(tmp_path, every_steps=5)
        try:
            model.fit(stream, epochs=4, verbose=0, callbacks=[callback, checkpoint, end])
        except RuntimeError:
            checkpoint.close()
    assert callback.is_pruned
    assert model.steps_trained == 10
    assert list(trial.study.trials[trial.number].intermediate_values) == [5, 10]


def test_two_searches_in_one_directory_are_refused(search, tmp_path):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(SystemExit, match=r"^another process is searching\. Received: "),
    ):
        search(tmp_path, *SMALL)


def test_a_disk_that_is_busy_is_not_another_search(search, tmp_path, monkeypatch):
    def busy(**options):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("optuna.create_study", busy)
    with pytest.raises(BlockingIOError, match="Resource temporarily"):
        search(tmp_path, *SMALL)


def test_without_optuna_one_line_says_what_to_install(tmp_path):
    (tmp_path / "optuna.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [sys.executable, PROGRAM],
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT)))),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "the search needs one more library. Received: no optuna. "
        "Expected: pip install '.[examples]'.\n"
    )
