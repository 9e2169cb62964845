"""The launcher of examples/cluster, with a program in place of main.py that does not train."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LAUNCH = ROOT / "examples" / "cluster" / "launch.py"
# Says who it is; then waits to be terminated where it is told to.
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
# Runs the command here; what is not its last argument is the host.
SSH = '#!/bin/sh\nshift\nexec sh -c "$1"\n'


@pytest.fixture
def launch(tmp_path):
    (tmp_path / "main.py").write_text(PROGRAM)
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, str(LAUNCH), f"--directory={tmp_path}", *arguments],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


PLACES = {
    "here": ["--workers=2"],
    "over ssh": ["--hosts=me@127.0.0.1:2001,127.0.0.2", "--port=2002"],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", ["0", "1"])
def test_each_worker_learns_all_addresses_and_its_number(launch, place, status):
    printed, said = (process := launch(*PLACES[place], "--", status, "a b")).communicate()
    assert (process.returncode, said) == (int(status), "")
    workers = sorted(json.loads(line) for line in printed.splitlines())
    assert [index for index, _, _ in workers] == [0, 1]
    assert [words for _, _, words in workers] == [[status, "a b"]] * 2
    [addresses] = {tuple(addresses) for _, addresses, _ in workers}
    if place == "over ssh":
        assert addresses == ("127.0.0.1:2001", "127.0.0.2:2002")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_ends_all_workers(launch, place, signum):
    process = launch(*PLACES[place], "--", "0", "wait")
    lines = [process.stdout.readline() for _ in range(2)]
    assert sorted(json.loads(line)[0] for line in lines) == [0, 1]
    process.send_signal(signum)
    process.communicate()
    # Python's own SIGINT is an exception; over ssh every signal becomes SIGTERM.
    is_interrupt = signum == signal.SIGINT and place == "here"
    assert process.returncode == (130 if is_interrupt else 143)
