"""Some files of `tests.faults.attack` are read, or refused in one line, within its bounds."""

import random

import pytest

from tests.faults import attack


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("event file of a resumed run: gaps", "read"),
        ("event file of a resumed run: sparse", "read"),
        ("model of a finished run: sparse", "read"),
        ("model: odd_weights", "MnistKerasError"),
        ("TFRecord: sparse", "DataError"),
        ("manifest.json: sparse", "DamagedError"),
        ("flag file: pipe", "UsageError"),
    ],
)
def test_a_file_made_to_cost_time_is_bounded(kind, expected, tmp_path):
    write, name = attack.KINDS[kind]
    write(tmp_path / "attack.keras", random.Random(0))
    assert attack.outcome(attack.READERS[name], tmp_path / "attack.keras") == expected


def test_sealed_checkpoints_are_refused_for_names_or_for_content(tmp_path):
    write, name = attack.KINDS["checkpoint: sealed"]
    chance, lists_outside = random.Random(0), set()
    for number in range(8):
        path = tmp_path / str(number) / "attack.keras"
        path.parent.mkdir()
        write(path, chance)
        manifest = (path.parent / "step-00000001" / "manifest.json").read_text()
        lists_outside.add(any(outside in manifest for outside in attack.OUTSIDE))
        assert attack.outcome(attack.READERS[name], path) == "DamagedError"
    assert lists_outside == {True, False}
