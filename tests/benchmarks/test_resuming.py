import doctest
import json

import numpy as np
import pytest

from benchmarks import peers_resuming, resuming

SAME = {"same_bits": True, "same_batches": True, "twice": 0, "never": 0, "order_again": False}
OTHER = {**SAME, "same_bits": False, "same_batches": False}


def result(who, data, *kills, **more):
    kills = [{"steps_run": 54, "said": [], **kill} for kill in kills]
    return {"who": who, "data": data, "needed": 54, "kills": kills, **more}


def rows(*results):
    return resuming.table(results).splitlines()[2:]


def test_data_with_the_same_outcome_share_a_row():
    found = rows(
        result("a", "arrays", {**SAME, "steps_run": 56}, {**SAME, "steps_run": 58}),
        result("a", "generator", SAME, {**SAME, "steps_run": 57}),
        result("b", "arrays", SAME, SAME),
    )
    assert found == [
        "| a | **yes** | yes | – | 0 – 4 | arrays; generator |",
        "| b | **yes** | yes | – | 0 | arrays |",
    ]


def test_the_table_shows_examples_seen_twice_and_never():
    wrong = {**OTHER, "twice": 8, "never": 3}
    warned = {**OTHER, "twice": 28, "never": 0, "said": ["this can cause Unreliable results"]}
    assert rows(result("a", "x", wrong), result("b", "x", warned, OTHER)) == [
        "| a | no | no: up to 8 twice, up to 3 never | **no** | 0 | x |",
        "| b | no | no: up to 28 twice | yes | 0 | x |",
    ]


def test_the_table_shows_why_the_bits_differ():
    batches_alone = {**OTHER, "same_batches": True}
    assert rows(
        result("a", "x", {**OTHER, "order_again": True}),
        result("b", "x", OTHER, SAME),
        result("c", "x", batches_alone, reproducible=True),
        result("d", "x", batches_alone, reproducible=False),
    ) == [
        "| a | no | yes, in an earlier epoch's order | **no** | 0 | x |",
        "| b | in 1 of 2 | yes, in another order | **no** | 0 | x |",
        "| c | no | yes | **no** | 0 | x |",
        "| d | no, nor without interruption | yes | **no** | 0 | x |",
    ]


def test_the_table_shows_what_did_not_run():
    assert rows(
        {"who": "a", "data": "all", "error": "ModuleNotFoundError: No module named 'a'"},
        {"who": "b", "data": "x", "needed": 54, "kills": [{"error": "ValueError: no"}]},
    ) == [
        "| a | not run here | ModuleNotFoundError: No module named 'a' | – | – | all |",
        "| b | does not resume | ValueError: no | yes, an error | – | x |",
    ]


def test_trainings_are_compared_to_the_bit(tmp_path):
    def leave(name, weight, lines):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "left.npz", **{"weights/w": weight, "optimizer/m": 1.0})
        (tmp_path / name / "steps.jsonl").write_text("\n".join(map(json.dumps, lines)))

    numbers = [list(range(8))[i : i + 4] for i in (0, 4)]
    steps = [{"epoch": epoch, "examples": part} for epoch in range(3) for part in numbers]
    leave("whole", np.float32(1), [{"from": 0}, *steps])
    leave("same", np.float32(1), [{"from": 0}, *steps[:3], {"from": 2}, *steps[2:]])
    leave("other", np.nextafter(np.float32(1), np.float32(2)), [{"from": 0}, *steps, steps[0]])
    same, other = (
        resuming.compare(tmp_path / name, tmp_path / "whole", per_epoch=2)
        for name in ("same", "other")
    )
    expected = {"same_weights": True, **SAME, "steps_run": 7, "updates": 6, "order_again": True}
    assert same == expected
    assert other == {
        **expected,
        "same_bits": False,
        "same_weights": False,
        "same_batches": False,
        "updates": 7,
        "twice": 4,
        "order_again": True,
    }


def test_a_peer_that_is_not_installed_is_reported(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(resuming, "MODULES", {"no_such_module": "nobody"})
    monkeypatch.setattr("sys.argv", ["resuming", f"--results={tmp_path}"])
    resuming.main()
    output = capsys.readouterr()
    assert output.err.startswith("skipped: nobody: ModuleNotFoundError: ")
    assert output.out.splitlines()[2].startswith("| nobody | not run here | ModuleNotFound")


@pytest.mark.parametrize("module", [resuming, peers_resuming])
def test_the_examples_are_true(module):
    assert doctest.testmod(module).failed == 0
