"""The launcher of examples/cluster, with a program that replaces main.py and does not train."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.workers

LAUNCH = ROOT / "examples" / "cluster" / "launch.py"
# Prints who it is, then waits for SIGTERM if told to. Worker 1 and later ones end with
# the status in the first argument.
PROGRAM = r"""
import json, os, signal, sys
config = json.loads(os.environ["TF_CONFIG"])
addresses, index = config["cluster"]["worker"], config["task"]["index"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.stdout.write(json.dumps([index, addresses, sys.argv[1:]]) + "\n")
sys.stdout.flush()
if "wait" in sys.argv:
    signal.pause()
sys.exit(int(sys.argv[1]) if index else 0)
"""
# Replaces ssh: runs its last argument, after options, "--" and the host, on this machine.
SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift || exit 254; done
shift
if [ "$1" = nowhere ]; then echo nowhere is not known >&2; exit 255; fi
exec sh -c "$2"
"""
# The launcher with a shorter time limit.
COMMAND = (
    f"import sys; sys.argv[0] = {str(LAUNCH)!r}; sys.path.insert(0, {str(LAUNCH.parent)!r}); "
    "import launch; launch.GRACE_S = 1; launch.main()"
)


@pytest.fixture
def launch(tmp_path):
    (tmp_path / "main.py").write_text(PROGRAM)
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)

    def start(*arguments, nohup=False):
        before = ["nohup"] if nohup else []
        return subprocess.Popen(
            [*before, sys.executable, "-Bc", COMMAND, f"--directory={tmp_path}", *arguments],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_mind_a_closed_terminal,
        )

    return start


def _mind_a_closed_terminal():
    """Also if the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


PLACES = {
    "here": ["--workers=2"],
    "over ssh": ["--hosts=me@127.0.0.1:2001,127.0.0.2", "--port=2002"],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", ["0", "1"])
def test_each_worker_gets_all_addresses_and_its_number(launch, place, status):
    printed, said = (process := launch(*PLACES[place], "--", status, "a b")).communicate()
    assert (process.returncode, said) == (int(status), "")
    workers = sorted(json.loads(line) for line in printed.splitlines())
    assert [index for index, _, _ in workers] == [0, 1]
    assert [words for _, _, words in workers] == [[status, "a b"]] * 2
    [addresses] = {tuple(addresses) for _, addresses, _ in workers}
    if place == "over ssh":
        assert addresses == ("127.0.0.1:2001", "127.0.0.2:2002")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_launcher_ends_all_workers(launch, place, signum):
    process = launch(*PLACES[place], "--", "0", "wait")
    lines = [process.stdout.readline() for _ in range(2)]
    assert sorted(json.loads(line)[0] for line in lines) == [0, 1]
    process.send_signal(signum)
    process.communicate()
    assert process.returncode == 128 + (signal.SIGTERM if signum == signal.SIGHUP else signum)


@pytest.mark.parametrize("place", PLACES)
def test_the_end_of_the_launcher_ends_all_workers(launch, place):
    process = launch(*PLACES[place], "--", "0", "wait")
    for _ in range(2):
        process.stdout.readline()
    process.kill()
    assert process.communicate() == ("", "")  # Until all writers have closed the pipes.


def test_under_nohup_it_survives_a_closed_terminal(launch):
    process = launch("--workers=2", "--", "0", "wait", nohup=True)
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.terminate()
    process.communicate()
    assert process.returncode == 143


def test_workers_waiting_for_a_failed_one_are_ended(launch):
    process = launch("--hosts=127.0.0.1,nowhere", "--", "0", "wait")
    _, said = process.communicate()
    assert said.splitlines() == [
        "nowhere is not known",
        "worker 1 has exited with status 255: the others are stopped",
    ]
    assert process.returncode == 255


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        *(
            (
                [f"--hosts=a,{place}"],
                f"--hosts is wrong. Received: {shown}. Expected: names of hosts, each with a port "
                "and a user where needed, as me@host:2222",
            )
            for place, shown in {
                "-V:2222": "-V:2222",
                "-oProxyCommand=touch it": "-oProxyCommand=touch it:2222",
                "me@-V": "me@-V:2222",
                "-l@b": "-l@b:2222",
                "": ":2222",
                "b:port": "b:port",
                "b\x1b[2J": r"b\x1b[2J:2222",
            }.items()
        ),
        (["--workers=0"], "--workers is too small. Received: 0. Expected: 1 or more"),
        (
            ["--workers=2", "--seed=1"],
            "unknown option. Received: --seed=1. Expected: main.py's flags after --",
        ),
    ],
)
def test_wrong_options_are_named_in_one_line(launch, options, expected):
    _, said = (process := launch(*options)).communicate()
    assert said.splitlines()[1:] == [f"launch.py: error: {expected}"]
    assert process.returncode == 2


def test_a_missing_directory_is_named_in_one_line(launch):
    _, said = (process := launch("--directory=nowhere", "--workers=2")).communicate()
    [line] = said.splitlines()
    assert line.startswith("error: worker 0 cannot be started. Received: ")
    assert "'nowhere'" in line
    assert process.returncode == 1
