"""End one of two workers at random times: ``python -m tests.faults.cluster --rounds=10``.

It uses four ways equally often: ``kill -9`` of a worker; a stopped worker, as if its machine were
lost; SIGTERM to a worker; and SIGTERM, after which the run resumes with another number of workers,
from two to one and from one to two in turn. The same commands then finish the run. Its results
are compared with those of an uninterrupted run: byte for byte and point for point, or to a
relative 1e-5 after a change of size. A worker that still runs `LONGEST_S` after the other one
has ended counts as a hang. A round during which the machine paused is repeated.
"""

import argparse
import math
import operator
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from tests.cluster import RECIPE, Workers
from tests.command_line import write_small_mnist
from tests.faults.kills import outcome

LINES = 130  # of about 310; the rest does not fit in a pipe of one page.
LONGEST_S = 60
STANDSTILL_S = 4
WAYS = ("kill", "silence", "terminate", "change of size")
LOST = r"error: a worker was lost\. Received: worker {} \([\w.:]+\) .+"


class Victim:
    """One run, interrupted once and then finished.

    Args:
        directory: its working directory.
        data_dir: of the images.
    """

    def __init__(self, directory, data_dir):
        self.run = directory / "logs" / "run"
        self._directory = directory
        self._arguments = (f"--data_dir={data_dir}", f"--logdir={directory}/logs", *RECIPE)

    def start(self, count, chance):
        """Start its workers with one or many steps per execution, at random."""
        steps = chance.choice((1, 50, "auto"))
        arguments = (*self._arguments, "--run_name=run", f"--steps_per_execution={steps}")
        return Workers(self._directory / "cwd", *arguments, count=count)

    def interrupt(self, count, signum, chance):
        """Send a signal to one of ``count`` workers; (its number, seconds until others end)."""
        workers = self.start(count, chance)
        workers.read_lines(chance.randrange(1, LINES))
        time.sleep(chance.uniform(0, 0.1))
        target = chance.randrange(count)
        others = [p for i, p in enumerate(workers.processes) if i != target or signum != "STOP"]
        began = time.monotonic()
        workers.processes[target].send_signal(getattr(signal, f"SIG{signum}"))
        try:
            outputs = [process.communicate(timeout=LONGEST_S) for process in others]
        except subprocess.TimeoutExpired:
            outputs = None
        took_s = time.monotonic() - began
        for process in workers.processes:
            process.kill()
            process.wait()
        said = None if outputs is None else [stderr for _, stderr in outputs]
        return target, took_s, [process.returncode for process in others], said

    def finish(self, count, chance):
        """Finish the run; (error or None, its results)."""
        ends = self.start(count, chance).end()
        if any(end.returncode for end in ends):
            return f"goes on to {[(end.returncode, end.stderr) for end in ends]}", {}
        return None, outcome(self.run)


class Standstill(threading.Thread):
    """Detects that the machine paused, which makes workers lose each other."""

    def __init__(self):
        super().__init__(daemon=True)
        self._longest_s = 0.0
        self.start()

    def run(self):
        before = time.monotonic()
        while True:
            time.sleep(0.2)
            now = time.monotonic()
            self._longest_s = max(self._longest_s, now - before)
            before = now

    def has_been(self):
        """Whether it paused since the last call."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s > STANDSTILL_S


def is_close(found, expected):
    """Whether two values of `outcome` agree to a relative 1e-5, except digests."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            is_close(found[k], expected[k]) for k in found
        )
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(is_close, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-5)
    is_digest = isinstance(expected, str) and re.fullmatch("[0-9a-f]{64}", expected)
    return bool(is_digest) or found == expected


def one_round(way, number, place, expected, chance):
    """(error or None, seconds until the other worker ended)."""
    before, after = 2, 2
    if way == "change of size":
        before, after = ((2, 1), (1, 2))[number % 2]
    signum = {"kill": "KILL", "silence": "STOP"}.get(way, "TERM")
    victim = Victim(place, place.parent / "data")
    target, took_s, statuses, said = victim.interrupt(before, signum, chance)
    if said is None:
        return "a hang", took_s
    if signum == "TERM":
        good = statuses == [143] * before
    else:
        lines = [text.splitlines()[-1].removeprefix("worker 1: ") for text in said if text]
        good = 1 in statuses and any(re.fullmatch(LOST.format(target), line) for line in lines)
    if not good or any("Traceback" in text for text in said):
        return f"statuses {statuses}: {said}", took_s
    wrong, found = victim.finish(after, chance)
    if wrong is not None:
        return wrong, took_s
    is_same = is_close if way == "change of size" else operator.eq
    different = [
        name
        for name in {**expected, **found}
        if name not in found or name not in expected or not is_same(found[name], expected[name])
    ]
    return (f"differs in {', '.join(different)}" if different else None), took_s


def main():
    """Interrupt as often as requested, in each way; exit status 1 after any error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments = parser.parse_args()
    chance, wrong = random.Random(arguments.seed), 0
    standstill = Standstill()
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        data = write_small_mnist(place / "data")
        whole = Victim(place / "whole", data)
        (place / "whole").mkdir()
        what, expected = whole.finish(2, chance)
        assert what is None, what
        for way in arguments.ways:
            times_s = []
            while len(times_s) < arguments.rounds:
                (place / "victim").mkdir()
                standstill.has_been()
                what, took_s = one_round(way, len(times_s), place / "victim", expected, chance)
                shutil.rmtree(place / "victim")
                if standstill.has_been():
                    print(f"{way}: the machine stood still; once more", flush=True)
                    continue
                wrong += what is not None
                result = what or "as never interrupted"
                print(f"{way}, round {len(times_s)}: ended in {took_s:.1f} s; {result}", flush=True)
                times_s.append(took_s)
            print(
                f"{way}: {arguments.rounds} rounds; until all others had ended: median "
                f"{statistics.median(times_s):.1f} s, worst {max(times_s):.1f} s",
                flush=True,
            )
    print(f"{wrong} rounds went wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
