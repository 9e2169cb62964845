"""``--mode=compare``: a table of runs, read from their files."""

import dataclasses
import os
import pathlib
import shutil
import sys

from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.app.setting import Decides, integer, settings
from mnist_keras.checkpoint import storage
from mnist_keras.checkpoint.checkpoint_directory import CheckpointDirectory
from mnist_keras.console.terminal import duration, is_terminal, notice, print_line, printable
from mnist_keras.errors import MnistKerasError, UsageError
from mnist_keras.inputs import json_text

# Other columns show the length; places and displays do not change the results.
_NOT_A_COLUMN = (Decides.LENGTH, Decides.PLACES, Decides.DISPLAY)
_SCORES = ("test_loss", "test_accuracy")
# What other values than a run writes raise.
_OTHER_VALUES = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
_STATE = (
    "state.json"  # In a checkpoint. Defined here because the module that writes it imports Keras.
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The results of a run that its files hold.

    Attributes:
        path: its directory.
        recipe: {flag: text} of every flag that has a value; {hyperparameter: text} without flags.
        has_flags: whether it is a run of main.py; others are of programs with callbacks of this
            package, which write no flags.txt.
        epochs: the number of epochs done, as "30", or as "12/30" if the run is not finished.
        steps: number of steps; None: unknown.
        metrics: {name: number or None} at the end of the last saved epoch. If the run is finished,
            they include the scores on the test set.
        seconds: training time; None: unknown.
        images_per_second: mean over the training; None: unknown.
    """

    path: pathlib.Path
    recipe: dict
    epochs: str
    steps: int | None
    metrics: dict
    seconds: float | None
    images_per_second: float | None
    has_flags: bool = True


def compare(config):
    """Print a table of runs, one per line, with the flags that differ.

    A table that is wider than the terminal is split into several, one below the other. A path
    that is not a run is left out and reported on stderr.

    Args:
        config: a `mnist_keras.app.config.RunConfig`; its ``paths`` are directories of runs. Without
            paths all runs in its ``logdir`` are compared.

    Raises:
        UsageError: none of the paths is a run.
    """
    recipes = pathlib.Path(config.logdir).glob("*/flags.txt")
    paths = config.paths or sorted(str(recipe.parent) for recipe in recipes)
    runs: dict[str, Run] = {}
    for path in paths:
        try:
            runs.setdefault(os.path.realpath(path), read_run(path))
        except (MnistKerasError, OSError) as error:
            notice(f"skipped: {printable(str(error))}")
    if not runs:
        received = printable(" ".join(config.paths) or f"--logdir={config.logdir}")
        raise UsageError(
            f"there is no run to compare. Received: {received}. Expected: the directories of runs."
        )
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    for line in table(list(runs.values()), columns=columns):
        print_line(line)


def read_run(path):
    """The `Run` in a directory.

    Raises:
        UsageError: the directory has neither flags.txt nor hyperparameters.
        MnistKerasError: the run's recipe cannot be read.
    """
    run = RunDirectory(path)
    try:
        recipe = run.stored_recipe()
    except UsageError:
        recipe = None
    has_flags = recipe is not None
    if recipe is None:
        # Imported here, because it imports TensorBoard.
        from mnist_keras.app.hyperparameters import hyperparameters

        recipe = hyperparameters(path)
    if recipe is None:
        raise UsageError(
            f"this is not a run's directory. Received: {path}. "
            "Expected: a directory with flags.txt, or with events of HParams."
        )
    summary = run.finished() if has_flags else None
    position, seconds, metrics = _newest_state(run)
    facts = {"steps": position["step"], "seconds": seconds}
    epochs = f"{position['epoch']}/{recipe['epochs']}" if has_flags else f"{position['epoch']}"
    is_whole = summary is not None and str(summary["epochs"]) == recipe["epochs"]
    if summary is not None and (is_whole or summary.get("stopped_early")):
        facts, epochs = summary, recipe["epochs"] if is_whole else epochs
        metrics = {**metrics, **{name: summary.get(name) for name in _SCORES}}
    elif seconds and (batch_size := integer(recipe.get("batch_size", ""))) is not None:
        facts["images_per_second"] = float(position["step"]) * batch_size / seconds
    return Run(
        path=pathlib.Path(path),
        recipe=recipe,
        epochs=epochs,
        steps=_number(facts.get("steps")),
        metrics={name: _number(value) for name, value in metrics.items()},
        seconds=_number(facts.get("seconds")),
        images_per_second=_number(facts.get("images_per_second")),
        has_flags=has_flags,
    )


def _newest_state(run):
    """(position, training seconds or None, metrics of the last saved epoch) of a run."""
    checkpoints = CheckpointDirectory(run.checkpoints, keep=1)
    position, seconds = None, None
    for step in reversed(checkpoints.steps()):
        directory = checkpoints.directory(step)
        try:
            if position is None:
                state = json_text.parse(storage.read_member(directory, _STATE))
                place = state["position"]
                position = {name: int(_number(place[name])) for name in ("step", "epoch")}
                seconds = _number(dict(state["callbacks"]).get("Stopwatch", {}).get("seconds"))
            metrics = dict(storage.read_manifest(directory)["description"]["metrics"])
        except (storage.DamagedError, *_OTHER_VALUES):
            continue
        if metrics:
            return position, seconds, metrics
    return position or {"step": 0, "epoch": 0}, seconds, {}


def _number(value):
    """The value if it is a number, otherwise None: the user may have edited summary.json."""
    is_too_large = isinstance(value, int) and abs(value) > sys.float_info.max  # To be formatted.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and not is_too_large else None


def table(runs, *, columns=None):
    """The lines of a table of runs, aligned for wide characters too.

    Args:
        runs: a list of `Run`.
        columns: the maximum width; a wider table continues below, after an empty line. None: no
            limit.

    >>> rest = {"steps": 600, "metrics": {"loss": 0.5}, "seconds": 75, "images_per_second": 1600.2}
    >>> runs = [
    ...     Run(path=pathlib.Path("logs/数字"), recipe={"seed": "0"}, epochs="2", **rest),
    ...     Run(path=pathlib.Path("logs/a"), recipe={"seed": "1"}, epochs="2/3", **rest),
    ... ]
    >>> print(*table(runs), sep="\\n")
    run   --seed  epochs  steps    loss  time  images/s
    数字       0       2    600  0.5000  1:15     1,600
    a          1     2/3    600  0.5000  1:15     1,600
    """
    cells = []
    for name in _differing(runs):
        is_flag = any(run.has_flags and name in run.recipe for run in runs)
        title = f"--{name}" if is_flag else name
        cells.append([title, *(run.recipe.get(name) for run in runs)])
    cells.append(["epochs", *(run.epochs for run in runs)])
    cells.append(["steps", *(_text(run.steps, "{:.0f}".format) for run in runs)])
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    for name in sorted(metrics, key=_rank):
        cells.append([name, *(_text(run.metrics.get(name), "{:.4f}".format) for run in runs)])
    cells.append(["time", *(_text(run.seconds, duration) for run in runs)])
    cells.append(["images/s", *(_text(run.images_per_second, "{:,.0f}".format) for run in runs)])
    names = _padded(_names(runs), left=True)
    lines = []
    for part in _parts(names, [_padded(column, left=False) for column in cells], columns):
        lines += ["", *("  ".join(row) for row in zip(names, *part, strict=True))]
    return lines[1:]


def _parts(names, padded, columns):
    """The padded columns in as few parts as fit next to the names, at least one in each part."""
    from rich.cells import cell_len

    parts: list[list[list[str]]] = []
    free = 0
    for column in padded:
        width = 2 + cell_len(column[0])
        if not parts or (columns is not None and width > free):
            parts.append([])
            free = (columns or 0) - cell_len(names[0])
        parts[-1].append(column)
        free -= width
    return parts


def _names(runs):
    """The column of the runs' names, or of their paths if two have the same name."""
    names = [os.path.basename(os.path.abspath(run.path)) for run in runs]
    is_clear = len(set(names)) == len(names)
    return ["run", *(names if is_clear else (str(run.path) for run in runs))]


def _differing(runs):
    """The flags in which the runs differ, without those that `_NOT_A_COLUMN` excludes."""
    declared = settings(RunConfig)
    left_out = {name for name, it in declared.items() if it.decides in _NOT_A_COLUMN}
    names = dict.fromkeys(name for run in runs for name in run.recipe if name not in left_out)
    return [name for name in names if len({run.recipe.get(name) for run in runs}) > 1]


def _rank(metric):
    return metric in _SCORES, metric.startswith("val_"), not metric.endswith("loss")


def _text(value, write):
    return None if value is None else write(value)


def _padded(cells, *, left):
    from rich.cells import cell_len

    texts = ["-" if cell is None else printable(cell, stream=sys.stdout) for cell in cells]
    width = max(map(cell_len, texts))
    spaces = [" " * (width - cell_len(text)) for text in texts]
    return [text + pad if left else pad + text for text, pad in zip(texts, spaces, strict=True)]
