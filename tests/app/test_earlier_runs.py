"""Runs of earlier versions that this version resumes.

``tests/data_files/run_format_1`` is from the version before the package had separate folders for
the library and the application. ``half`` was killed by SIGKILL in its second epoch; summary.json
is from the same run without interruption::

    python main.py --data_dir=DATA --logdir=LOGS --network=cnn_fast --batch_size=50 --shuffle \
        --learning_rate=0.01 --log_every_steps=10 --checkpoint_every_steps=7 \
        --keep_checkpoints=1 --augment_shift=1 --pictures_every_epochs=0 --network_graph=false \
        --batch_parts=1 --epochs=4 --run_name=half --steps_per_execution=1

DATA is written by `tests.command_line.write_small_mnist`.
"""

import json
import pathlib
import shutil

import pytest

from tests.command_line import fork_main, write_small_mnist

pytestmark = pytest.mark.slow

FILES = pathlib.Path(__file__).parent.parent / "data_files"
STEPS_PER_EPOCH = 20
KILLED_AFTER = 28  # The step of the checkpoint.


@pytest.fixture(scope="module", params=sorted(FILES.glob("run_format_*")), ids=lambda p: p.name)
def earlier(request):
    """The directory of a run of an earlier version and its expected summary."""
    return request.param


@pytest.fixture(scope="module")
def resumed(earlier, tmp_path_factory):
    """(directory, ended process) of that run after this version has finished it."""
    work = tmp_path_factory.mktemp("work")
    data_dir, run = write_small_mnist(work / "data"), work / "logs" / "half"
    shutil.copytree(earlier / "half", run)
    recipe = (run / "flags.txt").read_text(encoding="utf-8")
    for earlier_path, path in {"/tmp/old/data": data_dir, "/tmp/old/logs": run.parent}.items():
        assert earlier_path in recipe
        recipe = recipe.replace(earlier_path, str(path))
    (run / "flags.txt").write_text(recipe, encoding="utf-8")
    return run, fork_main(f"--flagfile={run / 'flags.txt'}", cwd=work)


def test_it_resumes_from_its_last_checkpoint(resumed):
    run, done = resumed
    assert done.returncode == 0, done.stderr
    checkpoint = run / "checkpoints" / f"step-{KILLED_AFTER:08d}"
    assert f"resumed after {KILLED_AFTER} steps, from {checkpoint}" in done.stderr
    steps = [line.partition(" loss")[0] for line in done.stdout.splitlines()[1:-1]]
    assert steps == ["1 10", "2", "2 0", "2 10", "3", "3 0", "3 10"]


def test_it_ends_with_the_summary_of_an_uninterrupted_run(resumed, earlier):
    found, expected = (
        json.loads(path.read_bytes())
        for path in (resumed[0] / "summary.json", earlier / "summary.json")
    )
    for summary in (found, expected):
        del summary["seconds"], summary["images_per_second"]
        summary.pop("model_sha256", None)  # Since a later version.
    assert found.pop("test_loss") == pytest.approx(expected.pop("test_loss"), abs=1e-5)
    assert found == pytest.approx(expected)


def test_its_event_files_show_each_step_once(resumed, points_of):
    points = points_of(resumed[0] / "train")  # points_of raises if a step appears twice.
    ends = [STEPS_PER_EPOCH * epoch for epoch in (1, 2, 3, 4)]
    logged = [*range(0, ends[-1], 10)]
    assert {tag: sorted(values) for tag, values in points.items()} == {
        "loss": logged,
        "learning_rate": logged,
        "gradient_norm": logged,
        "examples_per_second": logged,
        "epoch_loss": ends,
        "epoch_accuracy": ends,
    }
