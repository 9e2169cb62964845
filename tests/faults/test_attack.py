"""Some files of `tests.faults.attack` are read, or refused in one line, within its bounds."""

import random

import pytest

from tests.faults import attack


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("event file with gaps", "read"),
        ("sparse event file of a resumed run", "read"),
        ("sparse model of a finished run", "read"),
        ("sealed checkpoint", "DamagedError"),
        ("weights that lie elsewhere", "MnistKerasError"),
        ("sparse TFRecord", "DataError"),
        ("sparse manifest.json", "DamagedError"),
        ("pipe as flag file", "UsageError"),
    ],
)
def test_a_file_made_to_cost_time_is_bounded(kind, expected, tmp_path):
    write, name = attack.KINDS[kind]
    write(tmp_path / "attack.keras", random.Random(0))
    assert attack.outcome(attack.READERS[name], tmp_path / "attack.keras") == expected
