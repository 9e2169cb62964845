import dataclasses
import datetime
import errno
import json
import os
import pathlib
import shutil

import pytest

from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory, newest_run, run_directory
from mnist_keras.app.setting import settings
from mnist_keras.checkpoint import storage
from mnist_keras.errors import MnistKerasError, UsageError
from tests.command_line import tree

COMPLETE = "".join(
    f"--{name}={setting.text(setting.default)}\n"
    for name, setting in settings(RunConfig).items()
    if setting.in_every_recipe
).encode()
SUMMARY = {"epochs": 2, "test_accuracy": 0.5}


@pytest.fixture
def run(tmp_path):
    """A finished run with all its files, and one file that does not belong to it."""
    run = RunDirectory(tmp_path / "logs" / "a")
    run.open()
    run.close()
    run.store_recipe(RunConfig(epochs=2))
    run.write_model(b"network")
    run.write_summary(SUMMARY)
    (run.path / "events.out.tfevents.1.host").write_text("pictures")
    for name in ("plugins", "train", "validation"):
        (run.path / name).mkdir()
        (run.path / name / "events").write_text("points")
    (run.checkpoints / "step-00000020").mkdir(parents=True)
    (run.exports / "saved_model").mkdir(parents=True)
    run.steps_file("csv").write_text("step,name,value\n")
    run.steps_file("jsonl").write_text('{"step": 0}\n')
    (run.tracker("mlflow") / "steps").mkdir(parents=True)
    (run.path / "my notes.txt").write_text("mine")
    return run


def test_a_run_leaves_exactly_these_files(run):
    assert sorted(tree(run.path)) == [
        "checkpoints",
        "checkpoints/step-00000020",
        "events.out.tfevents.1.host",
        "export",
        "export/saved_model",
        "flags.txt",
        "mlflow",
        "mlflow/steps",
        "model.keras",
        "my notes.txt",
        "plugins",
        "plugins/events",
        "steps.csv",
        "steps.jsonl",
        "summary.json",
        "train",
        "train/events",
        "validation",
        "validation/events",
    ]


def test_unnamed_runs_started_in_one_second_get_separate_directories(tmp_path):
    now = lambda: datetime.datetime(2024, 2, 29, 12, 34, 56)  # noqa: E731
    config = RunConfig(logdir=str(tmp_path))
    runs = [run_directory(config, now=now) for _ in range(3)]
    for run in runs:
        run.open()
    assert [run.name for run in runs] == [
        "2024-02-29_12-34-56",
        "2024-02-29_12-34-56_2",
        "2024-02-29_12-34-56_3",
    ]
    for run in runs:
        run.close()


def test_a_new_runs_directory_survives_a_power_cut(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(storage.Disk, "sync_directory", lambda disk, path: synced.append(path))
    run = RunDirectory(tmp_path / "logs" / "a")
    run.make()
    assert synced == [tmp_path, tmp_path / "logs"]


def test_one_process_at_a_time_may_open_a_run(run):
    run.open()
    before = tree(run.path)
    other = RunDirectory(run.path)
    with pytest.raises(MnistKerasError) as caught:
        other.open()
    other.close()
    assert str(caught.value) == (
        f"another process is training this run. Received: {run.path}. "
        "Expected: another run for each process (--run_name)."
    )
    assert tree(run.path) == before
    run.close()
    other.open()
    other.close()


def test_a_file_system_without_locks_is_told(run, monkeypatch, capsys):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    other = RunDirectory(run.path)
    run.open()
    other.open()
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("the file system has no locks, so nothing keeps a second process out")
    other.close()
    assert (run.path / ".lock").exists()  # It is the first one's too.
    run.close()


def test_a_disk_that_is_busy_is_not_another_process(run, monkeypatch):
    def busy(path, **arguments):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(storage, "remove_leftovers", busy)
    with pytest.raises(MnistKerasError, match=r"cannot be written: Resource temporarily unav"):
        run.open()


@pytest.mark.parametrize(
    ("path", "reason"), [("file", "File exists"), ("file/a", "Not a directory")]
)
def test_a_directory_that_cannot_be_created_is_an_error(path, reason, tmp_path):
    (tmp_path / "file").write_text("mine")
    run = RunDirectory(tmp_path / path)
    assert run.stored_recipe() is None
    with pytest.raises(MnistKerasError) as caught:
        run.open()
    assert str(caught.value) == (
        f"the run's directory cannot be written: {reason}. "
        f"Received: {run.path}. Expected: a --logdir that can be written."
    )
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("link", ["logs", "logs/run"])
def test_a_link_that_leads_nowhere_is_named(link, tmp_path):
    path = tmp_path / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "unmounted")
    with pytest.raises(MnistKerasError) as caught:
        RunDirectory(tmp_path / "logs" / "run").open()
    assert str(caught.value) == (
        f"the run's directory cannot be written: {path} is a link to {tmp_path / 'unmounted'}, "
        f"which does not exist. Received: {tmp_path / 'logs' / 'run'}. "
        "Expected: a --logdir that can be written."
    )
    assert not (tmp_path / "unmounted").exists()


def test_clearing_removes_only_the_files_of_the_run(run):
    run.clear()
    assert tree(run.path) == {"my notes.txt": b"mine"}


def test_a_failed_removal_is_an_error_and_keeps_the_run(run, monkeypatch):
    def refuse(path, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(MnistKerasError, match="Received: Permission denied"):
        run.clear()
    assert run.stored_recipe() is not None


def test_clearing_removes_the_curves_of_earlier_trainings(run):
    (run.path / "earlier-1" / "train").mkdir(parents=True)
    run.clear()
    assert tree(run.path) == {"my notes.txt": b"mine"}


def test_clearing_removes_the_sweep_of_the_earlier_run(run):
    (run.path / "sweeps" / "learning_rate").mkdir(parents=True)
    run.clear()
    assert tree(run.path) == {"my notes.txt": b"mine"}


def test_clearing_keeps_a_sweep_made_before_the_run(tmp_path):
    run = RunDirectory(tmp_path)
    curve = tmp_path / "sweeps" / "learning_rate" / "curve.png"
    curve.parent.mkdir(parents=True)
    curve.write_bytes(b"a curve")
    run.clear()
    assert curve.read_bytes() == b"a curve"


@pytest.mark.parametrize(
    "name",
    [
        *("train", "validation", "earlier-1", "checkpoints", "export", "model.keras"),
        *("steps.csv", "wandb"),
    ],
)
def test_a_directory_without_a_recipe_is_refused(name, tmp_path):
    (tmp_path / "photos" / name).mkdir(parents=True)
    run = RunDirectory(tmp_path / "photos")
    with pytest.raises(UsageError) as caught:
        run.stored_recipe()
    assert str(caught.value) == (
        f"this is not a run's directory. Received: {run.path} with {name}, without flags.txt. "
        "Expected: another --run_name."
    )


def test_the_stored_recipe_is_complete_with_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(pathlib.Path("空 间", "数字"))
    run.path.mkdir(parents=True)
    run.store_recipe(
        RunConfig(
            mode="train",
            dataset="kmnist",
            data_dir="data",
            logdir="空 间",
            run_name="数字",
            overwrite=True,
            shuffle=True,
            checkpoint_every_steps=7,
            debug=True,
        )
    )
    assert run.recipe.read_text(encoding="utf-8").splitlines() == [
        "--dataset=kmnist",
        f"--data_dir={tmp_path}/data",
        f"--logdir={tmp_path}/空 间",
        "--run_name=数字",
        "--network=mlp",
        "--loss=sum_squared_error",
        "--optimizer=sgd",
        "--learning_rate=0.001",
        "--label_smoothing=0.0",
        "--schedule=constant",
        "--augment_shift=0.0",
        "--augment_rotation=0.0",
        "--augment_scale=0.0",
        "--augment_shear=0.0",
        "--augment_elastic=0.0",
        "--batch_size=200",
        "--batch_parts=auto",
        "--gradient_accumulation_steps=1",
        "--epochs=30",
        "--shuffle=true",
        "--seed=0",
        "--validation_examples=0",
        "--early_stopping_patience=0",
        "--log_every_steps=100",
        "--checkpoint_every_steps=7",
        "--keep_checkpoints=3",
        "--keep_best_checkpoints=1",
        "--steps_per_execution=auto",
        "--report=true",
        "--chart_layout=true",
        "--run_text=true",
        "--hparams=true",
        "--network_graph=true",
        "--memory_usage=true",
        "--weight_norms_every_epochs=5",
        "--pictures_every_epochs=30",
        "--histograms_every_epochs=0",
        "--pr_curves_every_epochs=0",
        "--projector=false",
        "--dtype_policy=float32",
        "--distribution=auto",
        "--cpu_devices=1",
        "--data_partitions=1",
    ]
    assert run.stored_recipe()["run_name"] == "数字"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_a_line_feed_ends_a_line_of_a_recipe(end, run):
    run.store_recipe(RunConfig())
    lines = [*run.recipe.read_text(encoding="utf-8").splitlines(), "--data_dir=a\u2028--seed=9"]
    run.recipe.write_bytes(end.join(lines).encode())
    assert run.stored_recipe() == run.flags(RunConfig()) | {"data_dir": "a\u2028--seed=9"}


def test_an_editors_byte_order_mark_does_not_damage_a_recipe(run):
    stored = run.stored_recipe()
    run.recipe.write_bytes(b"\xef\xbb\xbf" + run.recipe.read_bytes())
    assert run.stored_recipe() == stored


def test_a_recipe_for_several_workers_resumes_without_a_cluster(run):
    run.store_recipe(RunConfig(distribution="multi_worker"))
    assert run.stored_recipe()["distribution"] == "auto"


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"\xff\xfe\0garbage", "not text"),
        (b"", "no --dataset, --network, "),
        (b"--network=mlp\n--epochs", "no --dataset, --loss, "),
        (COMPLETE + b"--keep_checkpoints=" + b"9" * 5000, "a value of --keep_checkpoints "),
        (COMPLETE + b"--batch_parts=none\n", "a value of --batch_parts that is not an integer"),
        (COMPLETE + b"--epochs=", "a value of --epochs that is not an integer"),
    ],
)
def test_a_damaged_recipe_is_an_error_naming_the_file(content, received, run):
    run.recipe.write_bytes(content)
    with pytest.raises(MnistKerasError) as caught:
        run.stored_recipe()
    start = f"the run's recipe cannot be read. Received: {run.recipe}: {received}"
    assert str(caught.value).startswith(start)


def test_a_run_with_summary_and_model_is_finished(run):
    assert run.finished() == SUMMARY
    run.model.unlink()
    assert run.finished() is None


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"7", b"{}", b"\xff", b'{"epochs": "2", "test_accuracy": 1}'),
        b'{"epochs": 2, "test_accuracy": %s}' % (b"1" * 400),
        b'{"epochs": 2, "test_accuracy": 1, "seconds": %s}' % (b"1" * 400),
        b'{"epochs": 2, "test_accuracy": NaN}',
        b"[" * 100_000,
    ],
    ids=lambda content: content[:40].decode(errors="replace"),
)
def test_a_damaged_summary_counts_as_missing(content, run, capsys):
    run.summary.write_bytes(content)
    assert run.finished() is None
    said = capsys.readouterr().err
    assert said.startswith(f"{run.summary} is damaged, and the run counts as unfinished: ")
    assert said.count("\n") == 1


def test_pipes_among_the_runs_files_are_refused_at_once(run, capsys):
    for path in (run.recipe, run.summary, run.model):
        path.unlink()
        os.mkfifo(path)
    assert not run.has_model_of({"model_sha256": ""})
    assert run.finished() is None
    assert "Received: a named pipe. Expected: " in capsys.readouterr().err
    with pytest.raises(MnistKerasError, match=r"recipe cannot be read\. .*: a named pipe\."):
        run.stored_recipe()


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda run: run.store_recipe(RunConfig(epochs=9)), "flags.txt"),
        (lambda run: run.write_summary({"epochs": 9}), "summary.json"),
        (lambda run: run.write_model(b"other"), "model.keras"),
    ],
)
def test_a_full_disk_is_an_error_and_keeps_the_file(write, name, run, monkeypatch):
    before = tree(run.path)

    def write_half(disk, path, data):
        pathlib.Path(path).write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.Disk, "write", write_half)
    with pytest.raises(MnistKerasError) as caught:
        write(run)
    assert str(caught.value) == (
        f"{run.path / name} cannot be written. Received: No space left on device. "
        "Expected: a disk with free space; the run's checkpoints are unchanged."
    )
    assert tree(run.path) == before


def test_the_summary_is_readable_json(run):
    assert json.loads(run.summary.read_bytes()) == SUMMARY
    assert run.summary.read_text() == '{\n  "epochs": 2,\n  "test_accuracy": 0.5\n}\n'


def test_the_newest_run_is_the_latest_started_whatever_its_name(tmp_path):
    logdir = tmp_path / "a [1]*"
    for age, name in enumerate(["third", "second", "first"]):
        run = RunDirectory(logdir / name)
        run.path.mkdir(parents=True)
        run.store_recipe(dataclasses.replace(RunConfig(), seed=age))
        os.utime(run.recipe, (1e9 - age, 1e9 - age))
    assert newest_run(str(logdir)).name == "third"
    with pytest.raises(UsageError, match=r"there is no run yet\. .*/none"):
        newest_run(str(tmp_path / "none"))


def test_half_written_files_of_a_killed_process_are_removed(run):
    run.store_recipe(RunConfig(dataset="mnist"))
    before = tree(run.path)
    (run.path / ".unfinished-summary.json-0123abcd").write_bytes(b"{")
    run.open()
    run.close()
    assert tree(run.path) == before


@pytest.mark.parametrize("name", ["train", "mlflow", "aim"])
def test_nothing_of_others_at_a_links_target_is_removed(name, run, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    for leftover in (".unfinished-thesis-0123abcd", ".unfinished-thesis", ".replaced-thesis"):
        (theirs / leftover).mkdir(parents=True)
    shutil.rmtree(run.path / name, ignore_errors=True)
    (run.path / name).symlink_to(theirs)
    before = tree(theirs)
    run.open()
    run.announce_links()
    run.close()
    assert tree(theirs) == before
    assert capsys.readouterr().err == (
        f"{run.path}/{name} is a link: its files are written in {theirs}. "
        "Files of others there stay.\n"
    )
