"""Complete trainings, in this process, on a small data set."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import sys

import keras
import numpy as np
import pytest

from mnist_keras import SumSquaredError
from mnist_keras.app import networks
from mnist_keras.app.compare import read_run
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.app.train import train
from mnist_keras.callbacks import Interrupted
from mnist_keras.checkpoint import storage
from mnist_keras.data import load
from mnist_keras.data.datasets import catalog
from mnist_keras.data.order import epoch_order
from mnist_keras.errors import MnistKerasError, UsageError
from tests.command_line import tree, write_small_mnist

pytestmark = pytest.mark.slow

STEPS = 10  # in an epoch
TUTORIAL = {"dataset": "mnist", "batch_size": 100, "epochs": 3, "log_every_steps": 2}
EVERYTHING_ELSE = {
    **TUTORIAL,
    "network": "cnn",
    "loss": "categorical_crossentropy",
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "average_decay": 0.9,
    "schedule": "one_cycle",
    "shuffle": True,
    "validation_examples": 200,
    "dtype_policy": "mixed_bfloat16",
    "checkpoint_every_steps": 3,
}


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory):
    return write_small_mnist(tmp_path_factory.mktemp("small"))


@pytest.fixture
def start(small_mnist, tmp_path, capsys):
    """Train a run; returns its lines on stdout."""

    def start(run_name, **values):
        places = {"data_dir": str(small_mnist), "logdir": str(tmp_path), "run_name": run_name}
        capsys.readouterr()
        train(RunConfig(**{**TUTORIAL, **places, **values}))
        return capsys.readouterr().out.splitlines()

    return start


@pytest.fixture(scope="module")
def whole_run(small_mnist, tmp_path_factory):
    """The directory of an uninterrupted run of three epochs."""
    logdir = tmp_path_factory.mktemp("logs")
    places = {"data_dir": str(small_mnist), "logdir": str(logdir), "run_name": "whole"}
    train(RunConfig(**TUTORIAL, **places))
    return logdir / "whole"


@pytest.fixture
def result(points_of):
    """All results of a run except times."""

    def result(path):
        run = RunDirectory(path)
        summary = json.loads(run.summary.read_bytes())
        del summary["seconds"], summary["images_per_second"]
        points = {}
        for part in {"train", "validation"} & {entry.name for entry in path.iterdir()}:
            for tag, values in points_of(path / part).items():
                points[part, tag] = sorted(values) if tag == "examples_per_second" else values
        last = max(run.checkpoints.iterdir())
        return {
            "files": names_in(path),
            "summary": summary,
            "model": run.model.read_bytes(),
            "last checkpoint": (last.name, (last / "state.npz").read_bytes()),
            "points": points,
        }

    return result


def names_in(run):
    """The names in a run's directory without event files; each session writes a new one."""
    return sorted(path.name for path in run.iterdir() if "tfevents" not in path.name)


class Stopping(io.StringIO):
    """A stdout that sends a signal right after a line that starts with certain words."""

    def __init__(self, words, signum):
        super().__init__()
        self._words, self._signum = words, signum

    def write(self, text):
        super().write(text)
        if self.getvalue().rpartition("\n")[2].startswith(f"{self._words} "):
            signal.raise_signal(self._signum)
        return len(text)


@pytest.mark.parametrize(
    ("recipe", "signum"),
    [(TUTORIAL, signal.SIGINT), (EVERYTHING_ELSE, signal.SIGTERM)],
    ids=["the tutorial's", "everything else"],
)
def test_an_interrupted_run_says_how_to_resume_and_ends_unchanged(
    recipe, signum, start, result, monkeypatch, capsys, tmp_path
):
    whole = start("whole", **recipe)
    stdout = Stopping("1 2", signum)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(Interrupted) as caught:
            start("my run", steps_per_execution=1, **recipe)
    assert caught.value.code == 128 + signum
    command = f"python main.py '--flagfile={tmp_path}/my run/flags.txt'"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"run my run is interrupted. To resume: {command}"
    )
    begun, ended = stdout.getvalue().splitlines(), start("my run", **recipe)
    assert begun[-1].startswith("1 2 loss: ")
    assert begun[0] == ended[0] == whole[0]
    assert begun[1:] + ended[1:] == whole[1:]
    assert result(tmp_path / "my run") == result(tmp_path / "whole")


def test_an_extended_run_equals_a_longer_run(start, result, tmp_path, whole_run):
    first, second = start("a", epochs=2), start("a", epochs=3)
    assert [line for line in first + second if line.isdigit()] == ["0", "1", "2"]
    assert result(tmp_path / "a") == result(whole_run)


def test_the_model_has_averaged_weights_but_extending_uses_raw_ones(start, result, tmp_path):
    averaging = {"optimizer": "momentum", "average_decay": 0.9, "validation_examples": 200}
    start("whole", epochs=3, **averaging)
    for epochs in (2, 3):
        start("a", epochs=epochs, **averaging)
    assert result(tmp_path / "a") == result(tmp_path / "whole")
    state = np.load(tmp_path / "a" / "checkpoints" / "step-00000024" / "state.npz")
    model = keras.models.load_model(tmp_path / "a" / "model.keras").get_weights()
    for number, weight in enumerate(model):
        # The optimizer has its step, its rate, six averages and six momenta.
        np.testing.assert_array_equal(weight, state[f"optimizer/{2 + number:04d}"])
        assert not np.array_equal(weight, state[f"model/{number:04d}"])


def test_a_lost_model_is_made_again_from_averaged_weights(start, result, tmp_path):
    start("a", average_decay=0.9)
    before = result(tmp_path / "a")
    (tmp_path / "a" / "model.keras").unlink()
    start("a", average_decay=0.9)
    assert result(tmp_path / "a") == before


def test_a_warm_up_longer_than_the_training_is_refused(start, tmp_path):
    with pytest.raises(UsageError) as caught:
        start("a", epochs=2, validation_examples=1, warmup_steps=20)
    assert str(caught.value) == (
        "--warmup_steps is longer than the training. Received: 20. "
        "Expected: less than 20, the number of steps."
    )
    assert list(tmp_path.iterdir()) == []
    start("a", epochs=2, validation_examples=1, warmup_steps=19)


def test_profiling_steps_beyond_the_training_is_refused(start, tmp_path):
    with pytest.raises(UsageError) as caught:
        start("a", epochs=2, validation_examples=1, profile_steps="20-25")
    assert str(caught.value) == (
        "--profile_steps begins after the last step. Received: 20-25. "
        "Expected: a first step below 20, the number of steps."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("steps_per_execution", [7, 10**17])
def test_no_number_depends_on_the_steps_per_execution(
    steps_per_execution, start, result, tmp_path, whole_run
):
    start("a", steps_per_execution=steps_per_execution)
    assert result(tmp_path / "a") == result(whole_run)


def test_a_shuffled_run_follows_the_order_of_its_seed(start, small_mnist):
    first_line = start("a", epochs=1, seed=5, shuffle=True)[2]
    chosen = epoch_order(1000, seed=5, epoch=0)[:100]
    examples, _ = load("mnist", data_dir=small_mnist)
    keras.utils.set_random_seed(5)
    scores = networks.build("mlp")(examples.images[chosen] / np.float32(255))
    loss = SumSquaredError()(np.eye(10)[examples.labels[chosen]], scores)
    assert first_line.startswith("0 0 loss: ")
    assert float(first_line.split()[-1]) == pytest.approx(float(loss), rel=1e-5)


def test_overwriting_restarts_the_run_and_keeps_the_users_files(start, result, tmp_path, whole_run):
    start("a", epochs=5, seed=1, validation_examples=50)
    (tmp_path / "a" / "notes").write_text("mine")
    start("a", overwrite=True)
    assert (tmp_path / "a" / "notes").read_text() == "mine"
    (tmp_path / "a" / "notes").unlink()
    assert result(tmp_path / "a") == result(whole_run)


@pytest.mark.parametrize("values", [{"epochs": 4}, {"overwrite": True}])
def test_a_run_being_trained_by_another_process_is_left_alone(values, start, tmp_path, whole_run):
    shutil.copytree(whole_run, tmp_path / "a")
    other = RunDirectory(tmp_path / "a")
    other.open()
    before = tree(tmp_path)
    with pytest.raises(MnistKerasError, match="another process is training this run"):
        start("a", **values)
    assert tree(tmp_path) == before
    other.close()


def test_a_run_started_meanwhile_elsewhere_keeps_its_recipe(start, tmp_path, monkeypatch):
    resolve = catalog.resolve

    def resolve_slowly(*arguments, **options):
        other = RunDirectory(tmp_path / "a")
        other.path.mkdir()
        other.store_recipe(RunConfig(dataset="mnist", seed=1))
        return resolve(*arguments, **options)

    monkeypatch.setattr(catalog, "resolve", resolve_slowly)
    with pytest.raises(UsageError, match=r"other flags\. Received: --batch_size=100 --seed=0\."):
        start("a")
    assert list(tree(tmp_path)) == ["a", "a/flags.txt"]
    assert RunDirectory(tmp_path / "a").stored_recipe()["seed"] == "1"


def test_a_resumed_run_keeps_its_data_set(start, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def resolve(name, **_):
        raise Asked(name)

    monkeypatch.setattr(catalog, "resolve", resolve)
    with pytest.raises(Asked, match="auto"):
        start("a", dataset="auto")
    run = RunDirectory(tmp_path / "a")
    run.path.mkdir()
    run.store_recipe(RunConfig(**{**TUTORIAL, "dataset": "synthetic"}))
    with pytest.raises(Asked, match="synthetic"):
        start("a", dataset="auto")


def test_the_best_checkpoint_on_held_out_images_is_kept_too(start, tmp_path, points_of):
    recipe = {"optimizer": "momentum", "learning_rate": 0.05, "validation_examples": 200}
    lines = start("a", epochs=6, keep_checkpoints=1, **recipe)
    assert lines[0] == "datasets: (800, 28, 28) (800,)"
    points = points_of(tmp_path / "a" / "validation")
    assert sorted(points) == ["epoch_accuracy", "epoch_loss"]
    losses = points["epoch_loss"]
    assert sorted(losses) == [8, 16, 24, 32, 40, 48]
    best = min(losses, key=losses.get)
    assert best != 48, f"this test needs a last epoch that is not the best one: {losses}"
    kept = sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert kept == [f"step-{best:08d}", "step-00000048"]


@pytest.mark.parametrize("lost", ["summary.json", "model.keras", "a bit of model.keras"])
def test_a_lost_result_is_made_again_without_training(lost, start, result, tmp_path, whole_run):
    shutil.copytree(whole_run, tmp_path / "a")
    if lost.startswith("a bit of "):
        path = tmp_path / "a" / "model.keras"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        (tmp_path / "a" / lost).unlink()
    lines = start("a")
    assert [line.split(":")[0] for line in lines] == ["datasets", "test loss"]
    assert result(tmp_path / "a") == result(whole_run)


def test_a_diverging_training_is_an_error_and_leaves_no_model(start, tmp_path, capsys):
    with pytest.raises(MnistKerasError) as caught:
        start("a", learning_rate=1e6)
    message = str(caught.value)
    assert re.match(
        r"the loss is not finite at step (\d) \(epoch 0, step \1\)\. Received: ", message
    )
    assert message.endswith(
        " Expected: a finite loss. There is no checkpoint yet. To start again at a lower rate: "
        f"python main.py --flagfile={tmp_path}/a/flags.txt --run_name=a_lower_rate "
        "--learning_rate=100000"
    )
    step = int(re.search(r"step (\d)", message)[1])
    logged = [line[:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert logged == [f"0 {s}" for s in range(0, step + 1, 2)]
    assert names_in(tmp_path / "a") == ["flags.txt", "train"]


def test_a_network_without_finite_loss_is_not_saved(start, tmp_path):
    with pytest.raises(MnistKerasError, match=r"is not finite\. Received: (inf|nan)\."):
        start("a", batch_size=1000, epochs=1, learning_rate=1e30)
    assert names_in(tmp_path / "a") == ["checkpoints", "flags.txt", "train"]


@pytest.fixture
def full_disk(monkeypatch):
    """Within the context the ``first``-th to ``last``-th writes of a file find a full disk."""

    @contextlib.contextmanager
    def full_disk(name, *, first=1, last=99):
        written, write = [], storage.Disk.write

        def write_half(disk, path, data):
            if name in str(path):
                written.append(path)
                if first <= len(written) <= last:
                    path.write_bytes(data[: len(data) // 2])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(disk, path, data)

        with monkeypatch.context() as patch:
            patch.setattr(storage.Disk, "write", write_half)
            yield

    return full_disk


def test_a_temporarily_full_disk_costs_only_a_checkpoint(
    start, result, tmp_path, whole_run, full_disk
):
    with full_disk("state.npz", first=2, last=2):
        start("a")
    kept = sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert kept == ["step-00000010", "step-00000030"]
    assert result(tmp_path / "a") == result(whole_run)


@pytest.mark.parametrize(
    ("name", "first", "message"),
    [
        ("state.npz", 2, "the last checkpoint could not be written: No space left on device"),
        ("model.keras", 1, "model.keras cannot be written. Received: No space left on device."),
        ("summary.json", 1, "summary.json cannot be written. Received: No space left on device."),
    ],
)
def test_a_full_disk_ends_the_run_and_it_resumes_later(
    name, first, message, start, result, tmp_path, whole_run, full_disk
):
    with full_disk(name, first=first), pytest.raises(MnistKerasError, match=re.escape(message)):
        start("a")
    assert not [path for path in tree(tmp_path) if "unfinished" in path]
    assert not (tmp_path / "a" / "summary.json").exists()
    start("a")
    assert result(tmp_path / "a") == result(whole_run)


def test_start_from_copies_the_newest_checkpoint_of_another_run(start, tmp_path, points_of):
    whole = start("whole", epochs=3)
    start("a", epochs=2)
    forked = {"start_from": str(tmp_path / "a"), "learning_rate": 0.0001}
    lines = start("b", epochs=2, **forked)
    # Its first loss is that of the third epoch, and all its numbers begin at 0.
    first = next(line for line in whole if line.startswith("2 "))
    assert lines[:3] == [whole[0], "0", first.replace("2 ", "0 ", 1)]
    points = points_of(tmp_path / "b" / "train")
    assert set(points["learning_rate"].values()) == {float(np.float32(0.0001))}
    assert sorted(points["epoch_loss"]) == [STEPS, 2 * STEPS]
    summaries = [json.loads((tmp_path / name / "summary.json").read_bytes()) for name in "ab"]
    assert [(it["epochs"], it["steps"]) for it in summaries] == [(2, 2 * STEPS)] * 2
    shutil.rmtree(tmp_path / "a")
    assert start("b", epochs=3, **forked)[1] == "2"
    with pytest.raises(UsageError, match=r"--start_from: there is no checkpoint. Received: .*/a/"):
        start("c", **forked)
    assert not (tmp_path / "c").exists()


def test_a_run_without_improvement_stops_early_and_is_finished(start, tmp_path, capsys):
    # At this rate no weight changes.
    recipe = {"learning_rate": 1e-30, "validation_examples": 100, "early_stopping_patience": 2}

    def come_to(**values):
        lines = start("a", **recipe, **values)
        page = (tmp_path / "a" / "report.html").read_text()
        summary = json.loads((tmp_path / "a" / "summary.json").read_bytes())
        counted = {name: summary.get(name) for name in ("epochs", "stopped_early", "steps")}
        assert "<dt>epochs</dt><dd>3, stopped early</dd>" in page
        return [line for line in lines if line.isdigit()], counted

    counted = {"epochs": 3, "stopped_early": True, "steps": 3 * (STEPS - 1)}
    assert come_to(epochs=9) == (["0", "1", "2"], counted)
    assert come_to(epochs=9) == ([], counted)
    assert come_to(epochs=20) == ([], counted)
    # Killed between its last checkpoint and its end.
    (tmp_path / "a" / "summary.json").unlink()
    assert come_to(epochs=9) == ([], counted)
    assert read_run(tmp_path / "a").epochs == "3/9"


def test_a_stopped_run_says_so(small_mnist, tmp_path, capsys):
    recipe = {"learning_rate": 1e-30, "validation_examples": 100, "early_stopping_patience": 2}
    places = {"data_dir": str(small_mnist), "logdir": str(tmp_path), "run_name": "a"}
    for _ in range(2):
        train(RunConfig(**{**TUTORIAL, **recipe, **places, "epochs": 9}))
    lines = capsys.readouterr().err.splitlines()
    assert (
        "run a was stopped early, after 3 of 9 epochs: the loss on --validation_examples was no "
        "lower in the last --early_stopping_patience=2 epochs."
    ) in lines
    assert lines[-1].startswith(
        "run a is finished: 3 epochs, stopped early with --epochs=9, test accuracy "
    )
    assert f"--run_name=a_longer --start_from={tmp_path}/a" in lines[-1]


def test_the_report_shows_the_class_names_of_the_data_set(start, tmp_path):
    start("clothes", dataset="fashion_mnist", epochs=1)
    assert '<th scope="row">Ankle boot</th>' in (tmp_path / "clothes" / "report.html").read_text()
