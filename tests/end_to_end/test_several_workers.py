"""main.py on two devices and on two workers, terminated and killed, compared with one device."""

import concurrent.futures
import dataclasses
import io
import pathlib
import re
import signal

import numpy as np
import pytest

from mnist_keras.app import shard
from mnist_keras.checkpoint.storage import read_directory
from tests.cluster import RECIPE, Workers
from tests.command_line import tree, write_small_mnist

pytestmark = [pytest.mark.slow, pytest.mark.workers]

STEPS = 300
SHARED = ("mirrored", "shrunk", "grown")
LOST = re.compile(
    r"error: a worker was lost\. Received: worker 1 \(127\.0\.0\.1:\d+\) "
    r"(has exited|does not respond)\. "
    r"Expected: all 2 workers until the end; "
    r"a program with a Checkpoint resumes from its last one\."
)


@dataclasses.dataclass(frozen=True)
class Runs:
    """The results of several runs of one recipe.

    Attributes:
        logdir: the directory of the runs.
        others: the working directories of the workers other than the chief.
        whole: the `Ended` of an uninterrupted run on one device.
        mirrored: the `Ended` of a run on two devices of one process.
        terminated, killed: lists of `Ended`, the parts of the run ``shrunk`` on two workers.
        shrunk: the `Ended` of its last part, on one device.
        begun: the `Ended` of the first part of the run ``grown``, on one device.
        grown: a list of `Ended`, its last part on two workers.
    """

    logdir: pathlib.Path
    others: list
    whole: object
    mirrored: object
    terminated: list
    killed: list
    shrunk: object
    begun: object
    grown: list


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    work = tmp_path_factory.mktemp("cluster")
    whole_data = write_small_mnist(work / "data")
    # Each of two workers has only its own shards.
    halves = [work / f"data-{index}" for index in range(2)]
    for index, half in enumerate(halves):
        form = ("idx", "tfrecord")[index]
        shard.main([f"--data_dir={whole_data}", f"--to={half}", "--count=4", f"--format={form}"])
        for path in half.glob("train*"):
            if int(path.name[-14:-9]) // 2 != index:
                path.unlink()

    def part(name, *arguments, count, signum=None, to=0):
        """One part of a run; a signal may end one of its processes after 40 lines."""
        flags = (
            f"--logdir={work}/logs",
            f"--run_name={name}",
            *RECIPE,
            "--data_partitions=2",
            *arguments,
        )
        data_dirs = halves if count == 2 else [whole_data]
        workers = Workers(work / name, *flags, count=count, data_dirs=data_dirs)
        if signum is not None:
            workers.read_lines(40)
            workers.processes[to].send_signal(signum)
        return workers.end()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        whole = pool.submit(part, "whole", count=1)
        begun = pool.submit(part, "grown", count=1, signum=signal.SIGTERM)
        whole, begun = whole.result()[0], begun.result()[0]
    at_once = "--steps_per_execution=50"
    terminated = part("shrunk", at_once, count=2, signum=signal.SIGTERM, to=1)
    killed = part("shrunk", at_once, count=2, signum=signal.SIGKILL, to=1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        two_devices = ("--distribution=mirrored", "--cpu_devices=2", at_once)
        mirrored = pool.submit(part, "mirrored", *two_devices, count=1)
        shrunk = pool.submit(part, "shrunk", count=1)
        mirrored, shrunk = mirrored.result()[0], shrunk.result()[0]
    grown = part("grown", "--steps_per_execution=1", count=2)
    others = [work / f"{name}-1" for name in ("shrunk", "grown")]
    logs = work / "logs"
    return Runs(logs, others, whole, mirrored, terminated, killed, shrunk, begun, grown)


def losses(*parts):
    """{(epoch, step): loss} of the printed lines; repeated lines have to be equal."""
    found = {}
    for part in parts:
        for line in part.lines:
            if match := re.fullmatch(r"(\d+) (\d+) loss: (.+)", line):
                place, loss = (int(match[1]), int(match[2])), float(match[3])
                assert loss == pytest.approx(found.setdefault(place, loss), rel=1e-5)
    return found


def scores(part):
    return [float(number) for number in re.findall(r"[\d.]+", part.lines[-1])]


def weights(run):
    """The weights and the optimizer's state in a run's last checkpoint, {key: array}."""
    last = max((run / "checkpoints").iterdir())
    with np.load(io.BytesIO(read_directory(last).files["state.npz"])) as arrays:
        # The place in the data is that of each worker, and their number may differ.
        others = ("metrics", "place/")
        return {key: arrays[key] for key in arrays if not key.startswith(others)}


def parts_of(runs, name):
    return {
        "mirrored": [runs.mirrored],
        "shrunk": [runs.terminated[0], runs.killed[0], runs.shrunk],
        "grown": [runs.begun, runs.grown[0]],
    }[name]


def test_all_workers_end_with_the_same_status(runs):
    def statuses(*parts):
        return [part.returncode for part in parts]

    assert statuses(runs.whole, runs.mirrored, runs.begun, runs.shrunk) == [0, 0, 143, 0]
    assert statuses(*runs.grown) == [0, 0]
    # Only worker 1 received the signal.
    assert statuses(*runs.terminated) == [143, 143]


def test_killing_a_worker_ends_the_others_with_a_message(runs):
    chief, killed = runs.killed
    assert (chief.returncode, killed.returncode) == (1, -signal.SIGKILL)
    assert LOST.fullmatch(chief.stderr.splitlines()[-1])
    assert "Traceback" not in chief.stderr


@pytest.mark.parametrize("name", SHARED)
def test_the_printed_losses_match_one_device(runs, name):
    expected = losses(runs.whole)
    assert len(expected) == STEPS
    assert losses(*parts_of(runs, name)) == pytest.approx(expected, rel=1e-5)
    assert scores(parts_of(runs, name)[-1]) == pytest.approx(scores(runs.whole), rel=1e-5)


@pytest.mark.parametrize("name", SHARED)
def test_the_weights_match_one_device(runs, name):
    expected, found = weights(runs.logdir / "whole"), weights(runs.logdir / name)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("directory", ["train", "validation"])
def test_the_tensorboard_points_match_one_device(runs, points_of, name, directory):
    expected = points_of(runs.logdir / "whole" / directory)
    found = points_of(runs.logdir / name / directory)
    assert found.keys() == expected.keys()
    for tag, points in expected.items():
        assert found[tag].keys() == points.keys(), tag
        if tag != "examples_per_second":
            assert found[tag] == pytest.approx(points, rel=1e-5), tag


def test_the_other_workers_leave_no_files_and_identify_themselves(runs):
    assert [tree(directory) for directory in runs.others] == [{}, {}]
    for _, other in (runs.terminated, runs.grown):
        assert other.lines == []
        assert other.stderr
        assert all(line.startswith("worker 1: ") for line in other.stderr.splitlines())
