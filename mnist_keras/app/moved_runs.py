"""Finds a run where its flags.txt lies, also after its directory was moved or copied.

A flag file belongs to the directory that it lies in if it is the flags.txt of a run, and if beside
it lie files that only a training writes. A flags.txt that was copied out of a run alone is a recipe
like any other.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence

from mnist_keras.annotations import StrPath
from mnist_keras.app.config import RunConfig
from mnist_keras.app.setting import settings
from mnist_keras.console import terminal
from mnist_keras.errors import UsageError

FILE_NAME = "flags.txt"
PLACE = ("logdir", "run_name")
_SETTINGS = settings(RunConfig)
# Each of these groups of files is enough: the directory may have been copied in part.
_OF_A_TRAINING = (
    ("checkpoints/step-*/manifest.json",),
    ("events.out.tfevents.*.mnist_keras",),
    ("train/events.out.tfevents.*.mnist_keras",),
    ("model.keras", "summary.json"),
)


def at_its_place(
    path: str, lines: Sequence[str], *, except_for: Iterable[str] = (), is_replaced: bool = False
) -> list[str]:
    """The lines of a flag file; those of a run's own flags.txt lead to where this file lies.

    Args:
        path: the flag file.
        lines: its lines, each a flag, a comment or empty.
        except_for: names among `PLACE` that a run's flags.txt leaves to the command line.
        is_replaced: whether the run will be trained anew, which removes its files.

    Raises:
        UsageError: the run that will be replaced is not the one that its flags.txt names.
    """
    stated = _stated_place(lines)
    if stated is None or not _is_of_training(path):
        return list(lines)
    left_out = tuple(f"--{name}=" for name in except_for)
    directory = os.path.dirname(path) or os.curdir
    placed = at_place(lines, directory)
    if placed != list(lines) and "run_name" not in except_for:
        if is_replaced:
            raise UsageError(
                "--overwrite would replace a run that is not the one in its flags.txt. Received: "
                f"{directory}, whose flags.txt names {stated}. Expected: --run_name besides."
            )
        terminal.notice(f"{path} names the run {stated}. The run in {directory} is used.")
    return [line for line in placed if not line.startswith(left_out)]


def at_place(lines: Sequence[str], directory: StrPath) -> list[str]:
    """The lines of the recipe of the run in a directory, which may have been moved since.

    If it was, --logdir and --run_name lead to this directory, and paths that lay in the former one
    lie in this one.

    >>> lines = ["--seed=1", "--logdir=/a", "--run_name=b", "--data_dir=/a/b/digits"]
    >>> at_place(lines, "/c/d")
    ['--seed=1', '--logdir=/c', '--run_name=d', '--data_dir=/c/d/digits']
    """
    old = _stated_place(lines)
    if old is None or _is_same(old, directory):
        return list(lines)
    new = os.path.realpath(directory)
    place = dict(zip(PLACE, os.path.split(new), strict=True))
    return [_moved(line, place, os.path.normpath(old), new) for line in lines]


def _stated_place(lines):
    """The directory that a recipe says it is the recipe of, or None."""
    flags = dict(line.removeprefix("--").partition("=")[::2] for line in lines)
    if any(not flags.get(name) for name in PLACE):
        return None
    return os.path.join(os.path.expanduser(flags["logdir"]), flags["run_name"])


def _moved(line, place, old, new):
    name, equals, value = line.removeprefix("--").partition("=")
    if not equals or not line.startswith("--"):
        return line
    if name in place:
        return f"--{name}={place[name]}"
    if name != "flagfile" and not (name in _SETTINGS and _SETTINGS[name].is_path):
        return line
    is_inside = value == old or value.startswith(os.path.join(old, ""))
    return f"--{name}={new}{value[len(old) :]}" if is_inside else line


def _is_of_training(path):
    directory, name = os.path.split(path)
    return name == FILE_NAME and any(
        all(any(pathlib.Path(directory).glob(pattern)) for pattern in group)
        for group in _OF_A_TRAINING
    )


def _is_same(one, other):
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
