"""What main.py does without TensorFlow: help, usage errors, data errors, finished runs.

TensorFlow and Keras are replaced by packages that end the process with status 99.
"""

import concurrent.futures
import shutil
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.data import read_idx, write_idx
from tests.command_line import MAIN, command, environment, run_main, tree, write_small_mnist

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with good data, bad data, and runs in various states."""
    place = tmp_path_factory.mktemp("place")
    good = write_small_mnist(place / "good")
    for name in ("one_of_four", "cut", "differ", "over_9", "promises", "text"):
        shutil.copytree(good, place / name)
    for path in (place / "one_of_four").iterdir():
        if path.name != TRAIN_IMAGES:
            path.unlink()
    cut = (good / TRAIN_IMAGES).read_bytes()
    (place / "cut" / TRAIN_IMAGES).write_bytes(cut[: len(cut) // 2])
    labels = read_idx(good / TRAIN_LABELS)
    write_idx(place / "differ" / TRAIN_LABELS, labels[:-1])
    write_idx(place / "over_9" / TRAIN_LABELS, np.where(labels == 7, 10, labels).astype("u1"))
    header = struct.pack(">HBB3I", 0, 8, 3, 1 << 20, 1 << 10, 1 << 10)
    (place / "promises" / TRAIN_IMAGES).write_bytes(header + bytes(100))
    (place / "text" / TRAIN_LABELS).write_text("the labels are: 5 0 4\n")
    (place / "empty").mkdir()
    (place / "file").write_text("a file\n")
    (place / "itself.txt").write_text("--epochs=3\n--flagfile=itself.txt\n")
    (place / "garbage").write_bytes(bytes(range(256)))
    for name in ("done", "half", "garbled", "emptied", "past"):
        run = RunDirectory(place / "logs" / name)
        run.path.mkdir(parents=True)
        run.store_recipe(RunConfig(dataset="mnist", data_dir=str(good), batch_size=100, epochs=2))
        if name == "done":
            run.write_model(b"the network")
            run.write_summary({"epochs": 2, "test_accuracy": 0.5})
    (place / "logs/garbled/flags.txt").write_bytes(bytes(range(256)))
    (place / "logs/emptied/flags.txt").write_bytes(b"")
    CheckpointDirectory(place / "logs/past/checkpoints", keep=1).save(15, {}, {})
    (place / "logs/strange/train").mkdir(parents=True)
    (place / "logs/strange/train/holiday.jpg").write_bytes(b"sun")
    for name in ("tensorflow", "keras"):
        (place / "blocked" / name).mkdir(parents=True)
        (place / "blocked" / name / "__init__.py").write_text("import os; os._exit(99)\n")
    return place


def run(place, *arguments):
    return run_main(*arguments, cwd=place, PYTHONPATH=str(place / "blocked"))


GOOD = "--data_dir=good"
DONE = "--flagfile=logs/done/flags.txt"
USAGE, DATA = 2, 1
# arguments, exit status, and the start of the error line
REFUSED = [
    (["--bogus"], USAGE, "unknown flag. Received: --bogus."),
    (["--bo\x1b[31mgus"], USAGE, "unknown flag. Received: --bo\\x1b[31mgus."),
    (["tr\x1b[2Jain"], USAGE, "arguments that are not flags. Received: tr\\x1b[2Jain."),
    (["--log_dir=x"], USAGE, "unknown flag. Received: --log_dir."),
    (["--dataset=emnist"], USAGE, "--dataset is wrong. Received: 'emnist'."),
    (["--batch_size=-1"], USAGE, "--batch_size is too small. Received: -1."),
    (["--batch_size=1e9"], USAGE, "--batch_size is wrong. Received: '1e9'."),
    (
        [GOOD, "--batch_size=1001"],
        USAGE,
        "--batch_size is larger than the training set. Received: 1001.",
    ),
    ([GOOD, f"--batch_size={10**17}"], USAGE, "--batch_size is larger than the training set."),
    (
        [f"--batch_size={10**18}"],
        USAGE,
        "--batch_size is too large. Received: 1000000000000000000.",
    ),
    (["--cpu_devices=100000"], USAGE, "--cpu_devices is too large. Received: 100000."),
    (["--batch_parts=100000"], USAGE, "--batch_parts is wrong. Received: 100000."),
    (["--augment_shift=1e30"], USAGE, "--augment_shift is wrong. Received: 1e+30."),
    ([GOOD, "--validation_examples=1000"], USAGE, "--validation_examples leaves no image"),
    (["--epochs=0"], USAGE, "--epochs is too small. Received: 0."),
    (["--learning_rate=0"], USAGE, "--learning_rate is wrong. Received: 0.0."),
    (["--learning_rate=-0.1"], USAGE, "--learning_rate is wrong. Received: -0.1."),
    (["--learning_rate=nan"], USAGE, "--learning_rate is wrong. Received: nan."),
    (["--learning_rate=inf"], USAGE, "--learning_rate is wrong. Received: inf."),
    (["--log_every_steps=0"], USAGE, "--log_every_steps is too small. Received: 0."),
    (["--steps_per_execution=0"], USAGE, "--steps_per_execution is wrong. Received: 0."),
    (["--steps_per_execution=-1"], USAGE, "--steps_per_execution is wrong. Received: '-1'."),
    (["--steps_per_execution=abc"], USAGE, "--steps_per_execution is wrong. Received: 'abc'."),
    (["--seed=-1"], USAGE, "--seed is too small. Received: -1."),
    ([f"--seed={2**32}"], USAGE, "--seed is too large. Received: 4294967296."),
    (["--run_name=a/b"], USAGE, "--run_name is wrong. Received: 'a/b'."),
    (["--run_name=.."], USAGE, "--run_name is wrong. Received: '..'."),
    (["--run_name="], USAGE, "--run_name is wrong. Received: ''."),
    ([f"--run_name={300 * 'x'}"], USAGE, "--run_name is too long. Received: 300 bytes."),
    (["--logdir="], USAGE, "--logdir is wrong. Received: ''."),
    (["--data_dir="], USAGE, "--data_dir is wrong. Received: ''."),
    (["--logdir=gs://bucket/logs"], USAGE, "a path is a URL. Received: --logdir=gs://bucket/logs."),
    ([DONE, "--mode=predict", "https://host/7.png"], USAGE, "a path is a URL. Received: https:"),
    (["--flagfile=none.txt"], USAGE, "a flag file cannot be read: No such file or directory."),
    (["--flagfile=good"], USAGE, "a flag file cannot be read: a directory."),
    (["--flagfile=garbage"], USAGE, "a flag file is not text."),
    (["--flagfile=itself.txt"], USAGE, "a flag file includes itself."),
    (["train", "--epochs=3"], USAGE, "arguments that are not flags. Received: train."),
    (["--mode=compare", "--logdir=empty"], USAGE, "there is no run to compare."),
    (["--mode=find_learning_rate", "a"], USAGE, "arguments that are not flags. Received: a."),
    (
        ["--mode=find_learning_rate", "--distribution=multi_worker"],
        USAGE,
        "--distribution=multi_wo",
    ),
    (["--mode=find_learning_rate", "--data_dir=none"], DATA, "The data directory cannot be read."),
    (
        ["--mode=find_learning_rate", GOOD, "--start_from=none"],
        USAGE,
        "--start_from: there is no checkpoint. Received: none/checkpoints.",
    ),
    (
        ["--mode=find_learning_rate", GOOD, "--logdir=file"],
        DATA,
        "the run's directory cannot be written: Not a directory.",
    ),
    (["--mode=predict", DONE], USAGE, "--mode=predict has nothing to read. Received: no file."),
    (["--mode=predict", DONE, "--contact_sheet=a.jpg", "file"], USAGE, "--contact_sheet is wrong."),
    (["--mode=predict", DONE, "file"], DATA, "'file' is not a photo."),
    (["--mode=predict", DONE, "none.jpg"], DATA, "'none.jpg' cannot be read."),
    (["--mode=predict", DONE, "good"], DATA, "'good' cannot be read. Received: a directory"),
    (["--mode=predict", DONE, f"good/{TRAIN_LABELS}"], DATA, "'good/train-labels-idx1-ubyte.gz' d"),
    (["--mode=predict", DONE, f"cut/{TRAIN_IMAGES}"], DATA, "'cut/train-images-idx3-ubyte.gz' is"),
    (["--mode=predict", "--run_name=half", "file"], USAGE, "the run is not finished."),
    (["--mode=predict", "--run_name=none", "file"], USAGE, "there is no such run."),
    (["--mode=export", DONE, "--formats=pickle"], USAGE, "--formats is wrong. Received: 'pickle'."),
    (["--mode=export", DONE, "--formats="], USAGE, "--formats is wrong. Received: ''."),
    (["--mode=export", "--run_name=half"], USAGE, "the run is not finished."),
    (["--mode=export", "--run_name=none"], USAGE, "there is no such run."),
    (["--mode=export", DONE, "--data_dir=cut", "--formats=saved_model"], DATA, "'cut/train-images"),
    (["--distribution=multi_worker"], USAGE, "--distribution=multi_worker needs a cluster."),
    (["--data_dir=none"], DATA, "The data directory cannot be read. Received: 'none'"),
    (["--data_dir=empty"], DATA, "The data directory lacks train-images-idx3-ubyte,"),
    (["--data_dir=file"], DATA, "The data directory cannot be read. Received: 'file'"),
    (["--data_dir=one_of_four"], DATA, "The data directory lacks train-labels-idx1-ubyte,"),
    (["--data_dir=cut"], DATA, "'cut/train-images-idx3-ubyte.gz' is damaged."),
    (["--data_dir=differ"], DATA, "'differ': The labels have the wrong form."),
    (["--data_dir=over_9"], DATA, "'over_9': A label is not a class. Received: 10."),
    (["--data_dir=promises"], DATA, "'promises/train-images-idx3-ubyte.gz' differs in length"),
    (["--data_dir=text"], DATA, "'text/train-labels-idx1-ubyte.gz' is not an IDX file."),
    ([GOOD, "--logdir=file"], DATA, "the run's directory cannot be written: Not a directory."),
    ([GOOD, "--logdir=/proc"], DATA, "the run's directory cannot be written:"),
    ([DONE, "--seed=1"], USAGE, "run done was started with other flags. Received: --seed=1."),
    ([DONE, "--run_name=past", "--epochs=1"], USAGE, "run past is already past its end."),
    ([DONE, "--run_name=garbled"], DATA, "the run's recipe cannot be read."),
    ([DONE, "--run_name=emptied"], DATA, "the run's recipe cannot be read."),
    ([DONE, "--run_name=strange"], USAGE, "this is not a run's directory."),
    ([DONE, "--run_name=strange", "--overwrite"], USAGE, "this is not a run's directory."),
    (["--mode=evaluate", "--logdir=empty"], USAGE, "there is no run yet."),
    (["--mode=evaluate", "--run_name=none"], USAGE, "there is no such run. Received: logs/none."),
    (["--mode=evaluate", "--run_name=half"], USAGE, "the run is not finished."),
    (["--mode=evaluate", "--run_name=garbled"], DATA, "the run's recipe cannot be read."),
]


@pytest.fixture(scope="module")
def answers(place, request):
    """{arguments: finished process} of the tested rows, run in parallel."""
    rows = [
        item.callspec.params["row"]
        for item in request.session.items
        if item.originalname == "test_an_error_prints_one_line_and_changes_no_file"
    ]
    before = tree(place)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda row: run(place, *row[0]), rows))
    return {
        **{tuple(row[0]): answer for row, answer in zip(rows, done, strict=True)},
        "files": (before, tree(place)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: " ".join(row[0])[:60])
def test_an_error_prints_one_line_and_changes_no_file(row, answers):
    arguments, status, words = row
    answer = answers[tuple(arguments)]
    assert answer.stderr.startswith(f"error: {words}")
    assert (answer.stderr.count("\n"), answer.stderr[-2:]) == (1, ".\n")
    assert "Expected: " in answer.stderr
    assert (answer.returncode, answer.stdout) == (status, "")
    before, after = answers["files"]
    assert after == before


def test_a_worker_with_wrong_flags_says_its_number(place):
    two = {"MNIST_KERAS_WORKERS": "a:2222,b:2222", "MNIST_KERAS_WORKER_INDEX": "1"}
    done = run_main("--bogus", cwd=place, PYTHONPATH=str(place / "blocked"), **two)
    assert done.returncode == USAGE
    assert done.stderr.startswith("worker 1: error: unknown flag. Received: --bogus. ")


def test_a_finished_run_says_so_and_exits(place):
    before = tree(place)
    for arguments in ([DONE], [DONE, "--epochs=1"], [DONE, "--log_every_steps=7"]):
        answer = run(place, *arguments)
        assert (answer.returncode, answer.stdout) == (0, "")
        assert answer.stderr.startswith("run done is finished: 2 epochs, test accuracy 0.5000, ")
    assert tree(place) == before


def test_help_prints_the_flags_in_groups(place):
    answers = [run(place, flag).stdout for flag in ("--help", "-?", "--helpshort")]
    assert len(set(answers)) == 1
    assert "\n\nusual flags:\n  --mode: " in answers[0]
    assert "app:" not in answers[0]


def test_a_closed_pipe_does_not_break_help(place):
    script = '"$@" --help | true'
    begun = ["bash", "-o", "pipefail", "-c", script, "bash", *command()]
    done = subprocess.run(begun, cwd=place, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "--helpshort"])
def test_help_lists_every_flag_with_its_meaning(flag, place):
    answer = run(place, flag)
    assert (answer.returncode, answer.stderr) == (0, "")
    for name in set(RunConfig.__dataclass_fields__) - {"paths"}:
        spellings = (f"  --{name}: ", f"  --[no]{name}: ")
        assert any(spelling in answer.stdout for spelling in spellings), name


def test_arguments_can_be_checked_without_a_run(place):
    answer = run(place, GOOD, "--only_check_args")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_an_unexpected_error_shows_a_traceback_only_with_debug(place):
    broken = place / "blocked_cache"
    broken.mkdir(exist_ok=True)
    (broken / "numpy.py").write_text("raise RuntimeError('broken\\nby hand')\n")
    quiet = run_main(GOOD, cwd=place, PYTHONPATH=str(broken))
    loud = run_main(GOOD, "--debug", cwd=place, PYTHONPATH=str(broken))
    shutil.rmtree(broken)
    line = "error: RuntimeError: broken. --debug shows where.\n"
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", line)
    assert loud.stderr.startswith("Traceback (most recent call last):\n")
    assert (loud.returncode, loud.stdout, loud.stderr[-len(line) :]) == (1, "", line)


@pytest.fixture(params=["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def signalled_import(request, place, tmp_path):
    """(signal, PYTHONPATH of an absl that sends it to this process when it is imported)."""
    (tmp_path / "absl").mkdir()
    program = f"import os, signal\nos.kill(os.getpid(), signal.{request.param})\n"
    (tmp_path / "absl" / "__init__.py").write_text(program)
    return getattr(signal, request.param), str(tmp_path)


def test_a_signal_during_the_imports_shows_no_traceback(signalled_import, place):
    signum, path = signalled_import
    done = run_main(cwd=place, PYTHONPATH=path)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signum, "", "")


def test_ctrl_c_before_the_first_own_line_shows_no_traceback(tmp_path):
    shutil.copy(MAIN, tmp_path)
    (tmp_path / "mnist_keras.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    begun = [sys.executable, str(tmp_path / "main.py")]
    done = subprocess.run(begun, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ignored_signals_stay_ignored(place):
    script = 'trap "" HUP INT TERM QUIT; exec "$@"'
    program = (
        "import signal; from mnist_keras.console import exit_signals as s; s.exit_at_signals(); "
        "print([signal.getsignal(it) == signal.SIG_IGN for it in s.SIGNALS])"
    )
    begun = ["sh", "-c", script, "sh", sys.executable, "-c", program]
    done = subprocess.run(begun, env=environment(), capture_output=True, text=True)
    assert done.stdout == "[True, True, True, True]\n", done.stderr


@pytest.mark.slow
def test_a_full_disk_at_stdout_is_reported_in_one_line(place):
    with open("/dev/full", "w") as full:
        for arguments in (["--help"], ["--mode=compare"]):
            begun = command(*arguments)
            done = subprocess.run(
                begun, cwd=place, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True
            )
            assert done.returncode == 1
            assert done.stderr.splitlines()[-1] == (
                "error: the output cannot be written. Received: No space left on device. "
                "Expected: a stdout that can be written."
            )


@pytest.mark.parametrize(("arguments", "status"), [([DONE], 0), (["--bogus"], USAGE)])
def test_a_broken_stderr_does_not_change_the_status(arguments, status, place):
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(*arguments), cwd=place, env=environment(), stderr=full)
    assert done.returncode == status


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_not_matter(place, closed):
    script = f'exec "$@" {closed}'
    begun = ["sh", "-c", script, "sh", *command("--mode=evaluate", DONE)]
    # Status 99: TensorFlow's turn has come.
    blocked = environment(PYTHONPATH=str(place / "blocked"))
    assert subprocess.run(begun, cwd=place, env=blocked).returncode == 99


def test_a_run_may_have_a_chinese_name(place):
    answer = run(place, GOOD, "--run_name=数字", "--logdir=空 间")
    # Status 99: TensorFlow's turn has come.
    assert (answer.returncode, answer.stdout, answer.stderr) == (99, "", "")
    run_directory = RunDirectory(place / "空 间" / "数字")
    assert run_directory.stored_recipe()["run_name"] == "数字"
    shutil.rmtree(place / "空 间")


@pytest.mark.slow
def test_the_environment_may_set_the_data_directory(place):
    answers = [
        run_main("--dataset=mnist", cwd=place, MNIST_KERAS_DATA_DIR=value, **nowhere(place))
        for value in ("none", "")
    ]
    assert answers[0].stderr.startswith(
        "error: The data directory cannot be read. Received: 'none'"
    )
    assert answers[1].stderr.startswith("error: The data set mnist cannot be loaded.")
    assert [answer.returncode for answer in answers] == [1, 1]


def nowhere(place):
    """An environment without access to downloads."""
    proxy = "http://127.0.0.1:9"
    return {
        "http_proxy": proxy,
        "https_proxy": proxy,
        "MNIST_KERAS_CACHE_DIR": str(place / "cache"),
    }
