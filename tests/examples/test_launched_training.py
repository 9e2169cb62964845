"""What ends main.py on two workers, also under the launcher of examples/cluster."""

import re
import signal
import subprocess
import sys

import pytest

from tests.cluster import RECIPE, Workers
from tests.command_line import environment, write_small_mnist
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.workers]

LAUNCH = ROOT / "examples" / "cluster" / "launch.py"
FAST = ("--steps_per_execution=10", "--checkpoint_every_steps=1000")
LOSS = re.compile(r"(\d+) (\d+) loss: ")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    work = tmp_path_factory.mktemp("launched")
    write_small_mnist(work / "data")
    return (*RECIPE, *FAST, f"--data_dir={work}/data", f"--logdir={work}/logs")


@pytest.fixture
def launch(flags):
    def start():
        return subprocess.Popen(
            [sys.executable, "-B", str(LAUNCH), "--workers=2", "--", *flags, "--run_name=one"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def until(process, is_last):
    """The lines on stdout up to a matching one."""
    lines = [process.stdout.readline()]
    while lines[-1] and not is_last(lines[-1]):
        lines.append(process.stdout.readline())
    return lines


def end(process):
    """(remaining lines on stdout, text on stderr) once all workers have ended."""
    printed, said = process.stdout.readlines(), process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    process.wait()
    return printed, said


def test_sigterm_before_the_first_step_ends_all_workers(flags, tmp_path):
    workers = Workers(tmp_path / "early", *flags, "--run_name=early")
    workers.read_lines(1)
    workers.processes[1].terminate()
    ends = workers.end()
    assert ends[0].lines[0].startswith("datasets: ")
    assert [end.returncode for end in ends] == [143, 143]


def test_a_run_resumes_after_its_launcher_was_killed(launch):
    killed = launch()
    lines = until(killed, lambda line: line.startswith("2 5 "))
    killed.send_signal(signal.SIGKILL)
    more, said = end(killed)
    assert "run one is interrupted" in said
    whole = launch()
    rest, _ = end(whole)
    assert whole.returncode == 0
    steps = [
        tuple(map(int, match.groups())) for match in map(LOSS.match, lines + more + rest) if match
    ]
    # A checkpoint was saved at the step at which it ended.
    assert steps == [(epoch, step) for epoch in range(10) for step in range(30)]
