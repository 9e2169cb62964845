import hashlib
import json
import platform
import re
import sys

import keras
import numpy as np
import pytest

from mnist_keras.data import load
from tests import forks
from tests.command_line import MAIN, environment, run_main, tree

pytestmark = pytest.mark.slow

EPOCHS, STEPS_PER_EPOCH = 34, 30
STEPS = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture
def path(runs, whole):
    return runs.logdir / "whole"


def test_stdout_has_the_tutorials_lines_and_the_scores(whole):
    assert whole.returncode == 0
    expected = ["datasets: (1000, 28, 28) (1000,)"]
    for epoch in range(EPOCHS):
        expected.append(str(epoch))
        expected += [f"{epoch} {step} loss: VALUE" for step in range(STEPS_PER_EPOCH)]
    expected.append("test loss: VALUE accuracy: VALUE")
    number = r"\d+\.\d+(e-\d+)?"
    printed = [re.sub(rf"(loss|accuracy): {number}", r"\1: VALUE", line) for line in whole.lines]
    assert printed == expected


def test_stderr_shows_paths_and_results_without_tensorflow_messages(whole, path):
    assert re.fullmatch(
        r"run logs/whole: 34 epochs of 30 steps, 100 steps per execution\. "
        r"Watch: .*tensorboard\S* --logdir=logs\n"
        r"34/34 epochs  took \d:\d\d  loss \S+  accuracy \S+  [\d,]+ images/s\n"
        r"report: logs/whole/report\.html\n"
        r"model: logs/whole/model\.keras\. "
        rf"To score it again: {sys.executable} {MAIN} --mode=evaluate "
        r"--flagfile=logs/whole/flags\.txt\n",
        whole.stderr,
    )


def test_the_points_in_tensorboard_are_the_printed_losses(whole, path, points_of):
    printed = {}
    for line in whole.lines:
        if match := re.fullmatch(r"(\d+) (\d+) loss: (.+)", line):
            printed[int(match[1]) * STEPS_PER_EPOCH + int(match[2])] = np.float32(match[3])
    points = points_of(path / "train")
    assert points["loss"] == printed
    assert {tag: len(values) for tag, values in points.items()} == {
        "loss": STEPS,
        "learning_rate": STEPS,
        "gradient_norm": STEPS,
        "examples_per_second": STEPS,
        "epoch_loss": EPOCHS,
        "epoch_accuracy": EPOCHS,
    }


def test_the_run_leaves_these_files(path):
    kept = [f"checkpoints/step-{step:08d}" for step in (1001, 1014, 1020)]
    files = ["manifest.json", "state.json", "state.npz"]
    found = [re.sub(r"events\.out\.tfevents\..+", "events", name) for name in tree(path)]
    projector, profile = "plugins/org_tensorflow_tensorboard_projector", "plugins/profile"
    assert found == [
        "checkpoints",
        *sorted(kept + [f"{directory}/{file}" for directory in kept for file in files]),
        "events",
        "events",
        "flags.txt",
        "model.keras",
        "plugins",
        projector,
        *(f"{projector}/{name}" for name in ("images.png", "labels.tsv", "points.tsv")),
        f"{projector}/projector_config.pbtxt",
        profile,
        f"{profile}/steps_5-8",
        f"{profile}/steps_5-8/{platform.node()}.xplane.pb",
        "report.html",
        "summary.json",
        "train",
        "train/events",
    ]


def test_each_manifest_lists_every_file_with_its_size_and_sum(path):
    for checkpoint in (path / "checkpoints").iterdir():
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        assert manifest["files"] == {
            file.name: {
                "size": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in checkpoint.iterdir()
            if file.name != "manifest.json"
        }


def test_the_summary_has_the_results_of_the_run(whole, path):
    summary = json.loads((path / "summary.json").read_text())
    loss, accuracy = re.fullmatch(r"test loss: (\S+) accuracy: (\S+)", whole.lines[-1]).groups()
    assert summary == {
        "dataset": "mnist",
        "epochs": EPOCHS,
        "steps": STEPS,
        "seconds": summary["seconds"],
        "images_per_second": summary["images_per_second"],
        "test_loss": float(loss),
        "test_accuracy": float(accuracy),
        "model_sha256": hashlib.sha256((path / "model.keras").read_bytes()).hexdigest(),
    }
    images = summary["images_per_second"] * summary["seconds"]
    assert images == pytest.approx(EPOCHS * 1000, rel=1e-2)


def test_plain_keras_loads_the_model_with_the_same_predictions(path, runs, tmp_path):
    program = (
        "import sys\n"
        "sys.modules['mnist_keras'] = None  # as if it were not installed\n"
        "import keras, numpy as np\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "np.save('predictions.npy', model.predict(np.load('images.npy'), verbose=0))\n"
    )
    _, test_set = load("mnist", data_dir=runs.small_mnist)
    images = test_set.images / np.float32(255)
    np.save(tmp_path / "images.npy", images)
    done = forks.run(
        [sys.executable, "-c", program, str(path / "model.keras")], cwd=tmp_path, env=environment()
    )
    assert done.returncode == 0, done.stderr
    predictions = np.load(tmp_path / "predictions.npy")
    here = keras.models.load_model(path / "model.keras")
    np.testing.assert_array_equal(predictions, here.predict(images, verbose=0))
    accuracy = json.loads((path / "summary.json").read_text())["test_accuracy"]
    assert (predictions.argmax(1) == test_set.labels).mean() == pytest.approx(accuracy, rel=1e-6)


def test_evaluation_prints_the_same_scores_and_changes_no_file(whole, path, runs):
    before = tree(path)
    done = run_main("--mode=evaluate", "--run_name=whole", cwd=runs.logdir.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{whole.lines[-1]}\n", "")
    assert tree(path) == before


def test_the_same_command_again_says_that_the_run_is_finished(path, runs, tmp_path):
    before = tree(path)
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    done = run_main(
        f"--flagfile={path}/flags.txt", cwd=runs.logdir.parent, PYTHONPATH=str(tmp_path)
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"run whole is finished: {EPOCHS} epochs, test accuracy ")
    assert tree(path) == before
