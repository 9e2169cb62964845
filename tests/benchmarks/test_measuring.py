import doctest
import json
import sys

import pytest

from benchmarks import measuring


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(measuring).failed == 0


def test_all_contenders_take_turns_in_rounds(capsys):
    order = []
    functions = {name: lambda name=name: order.append(name) for name in "abc"}
    assert measuring.in_turns(functions, rounds=2) == {name: [None, None] for name in "abc"}
    assert order == list("abcabc")
    assert capsys.readouterr() == ("", "round 1 of 2\nround 2 of 2\n")


def test_ratios_compare_times_of_the_same_round_only():
    assert measuring.ratios([1.0, 20.0], of=[1.0, 10.0]) == (1.5, 1.0, 2.0)
    with pytest.raises(ValueError, match="longer"):
        measuring.ratios([1.0], of=[1.0, 2.0])


def test_a_report_names_the_machine(tmp_path):
    measuring.write_json(tmp_path / "new" / "speed.json", {"seconds": {"a": [1.5]}})
    report = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert report["seconds"] == {"a": [1.5]}
    assert report["machine"] == measuring.machine()
    assert {"processor", "cores", "python", "tensorflow"} <= set(report["machine"])


def test_a_chart_is_drawn(tmp_path):
    measuring.bars({"a": measuring.Spread(2, 1, 3)}, tmp_path / "a.png", label="s")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_arguments_have_their_defaults():
    arguments = measuring.parser("What it is.", seeds=10).parse_args(["--data_dir=here"])
    assert vars(arguments) == {"seeds": 10, "data_dir": "here", "results": measuring.RESULTS}


def test_a_contender_that_cannot_run_is_reported_and_skipped(capsys):
    with measuring.running({"nobody": ("no_such_module", "nobody", None)}) as running:
        assert running == {}
    error = capsys.readouterr().err
    assert error.startswith("skipped: nobody: ModuleNotFoundError: ")
    assert error.count("\n") == 1


@pytest.fixture
def contender(monkeypatch):
    """A `measuring.Contender` that runs a program given by the test."""

    def make(code):
        command = [sys.executable, "-c", code]
        monkeypatch.setattr(measuring, "worker_command", lambda *arguments: command)
        return measuring.Contender("a_module", "somebody", None)

    return make


def test_seconds_are_per_epoch(contender):
    with contender("print('ready', flush=True); print(10 * int(input()), flush=True)") as one:
        assert one.is_ready()
        assert one.seconds(epochs=7) == 10


def test_a_contender_that_ends_early_reports_why(contender):
    with contender("print('ready', flush=True); input(); raise OSError('no space')") as one:
        assert one.is_ready()
        with pytest.raises(RuntimeError, match=r"somebody has exited.*OSError: no space"):
            one.seconds()
