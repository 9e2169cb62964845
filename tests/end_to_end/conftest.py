"""Complete runs of main.py, each done once, two at a time, and shared by the tests."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import signal
import subprocess

import pytest

from tests import forks
from tests.command_line import MAIN, command, environment, fork_main, run_main, write_small_mnist

EVERYTHING = (
    "--pictures_every_epochs=10",
    "--histograms_every_epochs=10",
    "--pr_curves_every_epochs=10",
    "--projector",
    "--profile_steps=5-8",
)
# 30 steps per epoch, the last on a short batch; more lines than four parts print.
RECIPE = (
    "--batch_size=34",
    "--epochs=34",
    "--log_every_steps=1",
    "--checkpoint_every_steps=13",
    *EVERYTHING,
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    returncode: int
    lines: list
    stderr: str


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs in progress.

    Attributes:
        small_mnist: the data directory.
        logdir: the directory of the runs ``whole`` and ``parts``.
        whole: a future `Ended`, of an uninterrupted run.
        parts: a future list of `Ended`, of a run that is stopped in several ways and resumed.
        tutorial: a future `Ended`, of three epochs of flags.txt on MNIST; None without MNIST.
    """

    small_mnist: pathlib.Path
    logdir: pathlib.Path
    whole: concurrent.futures.Future
    parts: concurrent.futures.Future
    tutorial: concurrent.futures.Future


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    small_mnist = write_small_mnist(tmp_path_factory.mktemp("small"))
    work = tmp_path_factory.mktemp("work")
    (work / "elsewhere").mkdir()
    real_mnist = MAIN.parent.parent / "shared" / "mnist"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        arguments = [f"--data_dir={small_mnist}", "--run_name=whole", *RECIPE]
        whole = pool.submit(run_to_its_end, work, *arguments)
        parts = pool.submit(run_in_parts, work, small_mnist)
        tutorial = None
        if real_mnist.is_dir():
            arguments = [f"--flagfile={MAIN.parent}/flags.txt", "--epochs=3"]
            tutorial = pool.submit(run_to_its_end, work, *arguments, f"--data_dir={real_mnist}")
        yield Runs(small_mnist, work / "logs", whole, parts, tutorial)


def run_to_its_end(cwd, *arguments):
    return _ended(run_main(*arguments, cwd=cwd))


def fork_to_its_end(cwd, *arguments):
    return _ended(fork_main(*arguments, cwd=cwd))


def _ended(done):
    return Ended(done.returncode, done.stdout.splitlines(), done.stderr)


def run_in_parts(work, small_mnist):
    """One run: terminated, interrupted, killed, its stdout closed, and then finished.

    During the first part another process tries the same run; its `Ended` is the last.
    """
    arguments = [f"--data_dir={os.path.relpath(small_mnist, work)}", "--run_name=parts", *RECIPE]
    rival = []
    return [
        part(
            work, arguments, signal.SIGTERM, lambda: rival.append(fork_to_its_end(work, *arguments))
        ),
        part(work, arguments, signal.SIGINT),
        part(work, arguments, signal.SIGKILL),
        part(work, arguments, None),
        fork_to_its_end(work / "elsewhere", "--flagfile=../logs/parts/flags.txt"),
        *rival,
    ]


def part(cwd, arguments, signum, meanwhile=lambda: None):
    """Start, read 40 lines, then send a signal; None: close stdout instead.

    The pipe holds few lines: an unread process blocks, so that none ends too early.
    """
    with forks.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        with contextlib.suppress(AttributeError):  # Only Linux has it.
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        lines = [process.stdout.readline().rstrip("\n") for _ in range(40)]
        meanwhile()
        if signum is None:
            process.stdout.close()
        else:
            process.send_signal(signum)
            lines += process.stdout.read().splitlines()
        stderr = process.stderr.read()
    return Ended(process.returncode, lines, stderr)


@pytest.fixture(scope="session")
def whole(runs):
    """An uninterrupted run."""
    return runs.whole.result()


@pytest.fixture(scope="session")
def parts(runs):
    """The parts of an interrupted run, and a process that tried it meanwhile."""
    return runs.parts.result()
