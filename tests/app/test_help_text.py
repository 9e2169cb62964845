import dataclasses
import doctest

import pytest

from mnist_keras.app import help_text as module
from mnist_keras.app.config import RunConfig
from mnist_keras.app.help_text import help_text
from mnist_keras.app.setting import Decides, Group, setting, settings

GROUPS = [
    "usual flags",
    "data",
    "network and loss",
    "optimizer and schedule",
    "augmentation",
    "checkpoints",
    "TensorBoard and report",
    "devices",
    "other modes",
    "diagnostics",
]


@dataclasses.dataclass
class Config:
    """One flag of each kind, in two groups."""

    debug: bool = setting(
        False, help="Print more.", group=Group.DIAGNOSTICS, decides=Decides.COMMAND
    )
    network: str = setting(
        "mlp",
        help="Network to train.",
        choices=("mlp", "cnn"),
        group=Group.USUAL,
        decides=Decides.COMPUTATION,
    )
    decay: float | None = setting(
        None,
        help="Decay of the average.",
        unit="fraction",
        default_help="no average",
        at_least=0,
        below=1,
        only_with=("network", ("cnn",)),
        group=Group.USUAL,
        decides=Decides.COMPUTATION,
    )
    parts: int | str = setting(
        "auto",
        help="Parts of a batch, which are computed on the cores of the processor in parallel.",
        unit="parts",
        at_least=1,
        group=Group.USUAL,
        decides=Decides.SPEED,
    )
    data_dir: str | None = setting(
        None,
        help="Directory of the data.",
        default_help="a download",
        environment="DATA_DIR",
        group=Group.USUAL,
        decides=Decides.PLACES,
    )
    paths: tuple[str, ...] = setting(
        (), help="Files.", is_flag=False, group=Group.USUAL, decides=Decides.COMMAND
    )


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")


def blocks(text):
    """{title of a group: its lines} in the help."""
    found = {}
    for block in text.split("\n\n")[1:]:
        title, *lines = block.splitlines()
        found[title.removesuffix(":")] = lines
    return found


def test_each_flag_has_its_help_unit_range_and_default():
    found = blocks(help_text(settings(Config).values()))
    assert found["usual flags"] == [
        "  --network: Network to train.",
        "    (one of mlp, cnn; default: mlp)",
        "  --decay: Decay of the average.",
        "    (fraction, 0 to below 1, with --network=cnn; default: no",
        "    average)",
        "  --parts: Parts of a batch, which are computed on the cores",
        "    of the processor in parallel.",
        "    (parts, auto or at least 1; default: auto)",
        "  --data_dir: Directory of the data.",
        "    (default: $DATA_DIR, otherwise a download)",
    ]
    assert found["diagnostics"] == ["  --[no]debug: Print more.", "    (default: false)"]


def test_help_has_these_groups_and_common_flags_come_first():
    found = blocks(help_text(settings(RunConfig).values()))
    assert list(found) == GROUPS
    first = [line.split(":")[0].strip() for line in found["usual flags"] if line[:4] == "  --"]
    assert first == [
        "--mode",
        "--dataset",
        "--data_dir",
        "--logdir",
        "--run_name",
        "--network",
        "--learning_rate",
        "--batch_size",
        "--epochs",
        "--log_every_steps",
    ]


def test_no_help_line_is_wider_than_the_terminal():
    lines = help_text(settings(RunConfig).values()).splitlines()
    # A list of choices without spaces cannot be broken.
    assert [line for line in lines if len(line) > 60 and " " in line.strip()] == []


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(module).failed == 0
