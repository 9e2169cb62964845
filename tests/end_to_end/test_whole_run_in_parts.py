import json
import re

import pytest

pytestmark = pytest.mark.slow

STARTED = r"run \S*logs/parts: 34 epochs of 30 steps, 100 steps per execution\. Watch: .+\n"
UNREAD = r"error: the output cannot be written\. Received: .+\n"
GOES_ON = r"resumed after \d+ steps, from \S*logs/parts/checkpoints/step-\d{8}\n"
PROGRESS = r"\d+/34 epochs  .+ images/s\n"
INTERRUPTED = r"run parts is interrupted\. To resume: .+/main\.py --flagfile=.+/flags\.txt\n"


def test_each_part_ends_with_its_status_without_a_traceback(parts):
    expected = [
        (143, STARTED + PROGRESS + INTERRUPTED),
        (130, STARTED + GOES_ON + PROGRESS + INTERRUPTED),
        (-9, STARTED + GOES_ON),
        (1, STARTED + GOES_ON + PROGRESS + UNREAD),
        (0, STARTED + GOES_ON + PROGRESS + r"report: .+\nmodel: .+\n"),
        (1, r"error: another process is training this run\. Received: logs/parts\. .+\n"),
    ]
    for part, (status, stderr) in zip(parts, expected, strict=True):
        assert part.returncode == status
        assert re.fullmatch(stderr, part.stderr), part.stderr


def test_after_a_signal_the_next_part_continues_the_lines(parts, whole):
    joined = whole.lines[:1] + parts[0].lines[1:] + parts[1].lines[1:]
    assert joined == whole.lines[: len(joined)]


def test_after_a_kill_no_line_is_lost_or_changed(parts, whole):
    heard = list(dict.fromkeys(line for part in parts for line in part.lines))
    unheard = [line for line in whole.lines if line not in heard]
    assert heard == [line for line in whole.lines if line not in unheard]
    # The last lines of the fourth part were not read.
    last_heard = whole.lines.index(parts[3].lines[-1])
    assert unheard == whole.lines[last_heard + 1 :][: len(unheard)]


def test_tensorboard_shows_each_step_once_as_if_uninterrupted(parts, whole, runs, points_of):
    found, expected = (points_of(runs.logdir / run / "train") for run in ("parts", "whole"))
    for points in (found, expected):
        points["examples_per_second"] = sorted(points["examples_per_second"])
    assert found == expected


def test_the_result_equals_an_uninterrupted_run_bit_for_bit(parts, whole, runs):
    ends = []
    for run in ("parts", "whole"):
        path = runs.logdir / run
        summary = json.loads((path / "summary.json").read_text())
        del summary["seconds"], summary["images_per_second"]
        state = (path / "checkpoints" / "step-00001020" / "state.npz").read_bytes()
        ends.append((summary, (path / "model.keras").read_bytes(), state))
    assert ends[0] == ends[1]
